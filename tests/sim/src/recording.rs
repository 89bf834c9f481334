//! Recordings of real nodes, replayed.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use noex_proto::{Action, ClusterEvent, Machine, Recording, RecordingError, Secret};

use crate::timeline::{Page, Timeline};
use crate::{Line, trace};

/// What a recorded node did, repeated by a machine that was fed its inputs.
#[derive(Debug)]
pub struct Replay {
    /// The time of the last input.
    pub end: Duration,
    /// Why the replay ended before the recording.
    pub error: Option<ReplayError>,
    /// What the node's application was told, with the times since its machine was made.
    pub events: Vec<(Duration, ClusterEvent)>,
    /// Whether the recording ends because it had grown to its limit.
    pub full: bool,
    /// The run as it can be drawn.
    timeline: Timeline,
    /// How many inputs were repeated.
    pub inputs: usize,
    /// The version of noex that wrote the recording.
    pub version: String,
}

/// Why a recording is not repeated to its end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ReplayError {
    /// The machine did something else than the recorded one: another secret, or another version of noex.
    Diverged {
        /// The number of the input, from 1.
        input: usize,
        /// Where it stands, in bytes.
        at: usize,
        /// The actions that it led to here, and in the recording.
        actions: (usize, usize),
    },
    /// The machine did not come back from the last input, here or where it was recorded.
    Panicked {
        /// The number of the input, from 1.
        input: usize,
    },
    /// The recording cannot be read further.
    Recording {
        /// The number of the input that should be there, from 1.
        input: usize,
        /// What is wrong.
        error: RecordingError,
    },
    /// The node had a secret, and none was given.
    SecretMissing {
        /// The number of the input, from 1.
        input: usize,
        /// Where it stands, in bytes.
        at: usize,
    },
}

impl Replay {
    /// Repeats a recording. `secrets` are those that the node was given, in that order; the last one stands for all that are missing.
    ///
    /// # Errors
    /// The file is no recording, or one of another format. Whatever goes wrong later is in [`error`](Self::error), beside what came before.
    pub fn run(recording: &[u8], secrets: &[Secret]) -> Result<Self, RecordingError> {
        let mut reader = Recording::new(recording)?;
        let version = reader.version().to_string();
        let mut replay = Self {
            end: Duration::ZERO,
            error: None,
            events: Vec::new(),
            full: false,
            inputs: 0,
            timeline: Timeline::default(),
            version,
        };
        replay.error = replay.repeat(&mut reader, secrets).err();
        replay.full = reader.is_full();
        Ok(replay)
    }

    fn repeat(&mut self, reader: &mut Recording<'_>, secrets: &[Secret]) -> Result<(), ReplayError> {
        let mut secrets = secrets.iter().cloned().chain(secrets.last().cloned().into_iter().cycle());
        let mut machine = Machine::new();
        loop {
            let (at, input) = (reader.offset(), self.inputs + 1);
            let Some(recorded) = reader.next() else { return Ok(()) };
            let recorded = recorded.map_err(|error| ReplayError::Recording { input, error })?;
            let (now, recorded_actions) = (recorded.at, recorded.actions);
            let fed = recorded.into_input(&mut secrets).ok_or(ReplayError::SecretMissing { input, at })?;
            let nanos = u64::try_from(now.since_start().as_nanos()).unwrap_or(u64::MAX);
            self.timeline.input(0, nanos, &fed);
            (self.end, self.inputs) = (self.end.max(now.since_start()), input);
            let handle = || {
                machine.handle(now, fed);
                std::iter::from_fn(|| machine.poll_action()).collect::<Vec<_>>()
            };
            let done = catch_unwind(AssertUnwindSafe(handle)).map_err(|_| ReplayError::Panicked { input })?;
            let actions = done.len();
            for action in done {
                self.timeline.action(0, nanos, &action);
                if let Action::Event(event) = action {
                    self.events.push((self.end, event));
                }
            }
            self.timeline.view(0, nanos, &machine);
            match recorded_actions {
                Some(recorded) if recorded == actions => {}
                Some(recorded) => return Err(ReplayError::Diverged { input, at, actions: (actions, recorded) }),
                None => return Err(ReplayError::Panicked { input }),
            }
        }
    }

    /// The run as a page of HTML that needs nothing but itself and a browser.
    #[must_use]
    pub fn html(&self) -> String {
        let error = self.error.as_ref().map_or_else(|| "none".into(), ToString::to_string);
        let facts = vec![
            ("recorded by", format!("noex {}", self.version)),
            ("length", format!("{:.1} s, {} inputs, {} events", self.end.as_secs_f64(), self.inputs, self.events.len())),
            ("trouble in the replay", error),
        ];
        let page = Page {
            title: "noex: the recording of a node".into(),
            lead: "A node recorded all that it was fed, and the simulator has repeated what it did: this is how that one node saw the \
                   others."
                .into(),
            facts,
            end: u64::try_from(self.end.as_nanos()).unwrap_or(u64::MAX),
            checked: None,
            timeline: &self.timeline,
        };
        page.html()
    }

    /// The last of the events as text, a line each.
    #[must_use]
    pub fn text(&self, lines: usize) -> String {
        let skip = self.events.len().saturating_sub(lines);
        let lines: Vec<Line> =
            self.events[skip..].iter().map(|(at, event)| Line { at: *at, host: Some(0), what: event.to_string() }).collect();
        trace::text(lines.iter(), 1)
    }
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Diverged { input, at, actions: (here, recorded) } => write!(
                f,
                "input {input}, at byte {at}, led to {recorded} actions when it was recorded, and to {here} here: \
                 is this another secret, or another version of noex?"
            ),
            Self::Panicked { input } => write!(f, "input {input} was the last: the machine did not come back from it"),
            Self::Recording { input, error } => write!(f, "input {input}: {error}"),
            Self::SecretMissing { input, at } => write!(f, "input {input}, at byte {at}, needs a secret, and none was given"),
        }
    }
}

impl std::error::Error for ReplayError {}
