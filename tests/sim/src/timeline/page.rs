//! The timeline as one page of HTML that needs nothing but itself.
//!
//! Places in time are percentages, so that zooming is a matter of one width.

use std::fmt::Write;

use noex_proto::NodeStatus;

use super::{Kind, Lane, Life, Mark, Peer, Timeline, explain};
use crate::Violation;

const TEMPLATE: &str = include_str!("page.html");
/// How many of the last events the list below the picture holds.
const LISTED: usize = 1000;
/// With more nodes than this, their rows about each other are folded at first.
const UNFOLDED: usize = 6;
/// How much of the width a letter of a label takes, in percent, at a usual size of the window.
const LETTER: f64 = 0.55;

/// A timeline with what is said about it.
#[derive(Debug)]
pub(crate) struct Page<'a> {
    /// The heading.
    pub(crate) title: String,
    /// What kind of run it is, in a sentence.
    pub(crate) lead: String,
    /// What else is known of it: names and values.
    pub(crate) facts: Vec<(&'static str, String)>,
    /// The end of the run, in nanoseconds.
    pub(crate) end: u64,
    /// What was found, for a run that is checked; `None` for one that was only repeated.
    pub(crate) checked: Option<Option<&'a Violation>>,
    /// What is drawn.
    pub(crate) timeline: &'a Timeline,
}

impl Page<'_> {
    /// The page.
    pub(crate) fn html(&self) -> String {
        let mut out = String::new();
        let mut rest = TEMPLATE;
        while let Some((before, (name, after))) =
            rest.split_once("{{").and_then(|(before, rest)| Some((before, rest.split_once("}}")?)))
        {
            out.push_str(before);
            match name {
                "title" => out.push_str(&escape(&self.title)),
                "lead" => out.push_str(&escape(&self.lead)),
                "verdict" => self.verdict(&mut out),
                "facts" => self.facts(&mut out),
                "axis" => self.axis(&mut out),
                "lines" => self.lines(&mut out),
                "faults" => self.faults(&mut out),
                "parts" => self.parts(&mut out),
                "lanes" => self.lanes(&mut out),
                "events" => self.events(&mut out),
                "listed" => push(&mut out, format_args!("{LISTED}")),
                "end" => push(&mut out, format_args!("{}", self.end as f64 / 1e9)),
                _ => {}
            }
            rest = after;
        }
        out.push_str(rest);
        out
    }

    /// A moment as a place, in percent. What happens at the very beginning and end is not at the very edge.
    fn place(&self, at: u64) -> f64 {
        0.5 + 98.5 * at as f64 / self.end.max(1) as f64
    }

    fn width(&self, from: u64, until: u64) -> f64 {
        self.place(until.min(self.end)) - self.place(from)
    }

    fn violation(&self) -> Option<&Violation> {
        self.checked.flatten()
    }

    fn name(&self, host: usize) -> String {
        let lane = self.timeline.lanes.get(host);
        lane.and_then(|lane| lane.name.clone()).unwrap_or_else(|| format!("host {host}"))
    }

    fn verdict(&self, out: &mut String) {
        let Some(checked) = self.checked else { return };
        let Some(violation) = checked else {
            out.push_str("<div class=\"verdict good\"><b>No rule was broken.</b></div>");
            return;
        };
        let place = violation.host.map_or(String::new(), |host| format!(" at <b>{}</b>", escape(&self.name(host))));
        push(
            out,
            format_args!(
                "<div class=\"verdict bad\"><b>Broken rule: {}</b>, found after {}{place}.<p>{}</p><p>What was found: <code>{}</code></p>\
                 <p>The red line in the picture marks the moment. The cause lies to the left of it.</p></div>",
                violation.invariant,
                seconds(violation.at.as_nanos()),
                explain::invariant(violation.invariant),
                escape(&violation.detail),
            ),
        );
    }

    fn facts(&self, out: &mut String) {
        for (name, value) in &self.facts {
            push(out, format_args!("<dt>{}</dt><dd>{}</dd>", escape(name), escape(value)));
        }
    }

    fn axis(&self, out: &mut String) {
        self.ticks(|place, at| push(out, format_args!("<span class=tick style=\"left:{place:.3}%\">{} s</span>", short(at))));
    }

    /// About ten round times, with their places.
    fn ticks(&self, mut each: impl FnMut(f64, f64)) {
        let end = self.end as f64 / 1e9;
        let raw = end.max(1e-6) / 10.0;
        let power = 10f64.powf(raw.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= raw).unwrap_or(raw);
        let mut at = 0.0;
        while at <= end {
            each(self.place((at * 1e9) as u64), at);
            at += step;
        }
    }

    /// The lines across all rows.
    fn lines(&self, out: &mut String) {
        self.ticks(|place, _| push(out, format_args!("<div class=grid style=\"left:{place:.3}%\"></div>")));
        for (index, (at, what)) in self.timeline.phases.iter().enumerate() {
            let (place, row) = (self.place(*at), index % 3 * 15);
            let side = if place > 85.0 { "right:3px;left:auto" } else { "left:3px" };
            push(
                out,
                format_args!(
                    "<div class=phase style=\"left:{place:.4}%\"><span style=\"{side};top:{row}px\">{}</span></div>",
                    escape(what)
                ),
            );
        }
        if let Some(violation) = self.violation() {
            let at = self.place(u64::try_from(violation.at.as_nanos()).unwrap_or(u64::MAX));
            let early = if at < 30.0 { " early" } else { "" };
            push(
                out,
                format_args!(
                    "<div class=\"violation{early}\" style=\"left:{at:.4}%\"><span>broken: {}</span></div>",
                    violation.invariant
                ),
            );
        }
    }

    /// The row behind the labels of the lines.
    fn parts(&self, out: &mut String) {
        if self.checked.is_some() {
            out.push_str("<div class=\"row parts\"><div class=label>parts of the run</div><div class=plot></div></div>");
        }
    }

    /// The faults, packed into rows so that their labels do not cover each other.
    fn faults(&self, out: &mut String) {
        let mut rows: Vec<f64> = Vec::new();
        let mut bands = String::new();
        for span in &self.timeline.faults {
            let (left, width) = (self.place(span.from), self.width(span.from, span.until).max(0.0));
            let text = &span.what.text;
            let needed = width.max(LETTER * text.chars().count() as f64 + 1.5);
            // A label that would leave the picture stands to the left of its band.
            let turned = left + needed > 100.0 && width < needed;
            let from = if turned { (left - needed).max(0.0) } else { left };
            let row = rows.iter().position(|end| *end <= from).unwrap_or(rows.len());
            if row == rows.len() {
                rows.push(0.0);
            }
            rows[row] = if turned { left + width } else { left + needed };
            let top = row * 19;
            let tip = escape(&format!("{text} ({} to {})", seconds(span.from.into()), seconds(span.until.into())));
            let label =
                if turned { format!("right:{:.4}%;top:{top}px", 100.0 - left) } else { format!("left:{left:.4}%;top:{top}px") };
            push(
                &mut bands,
                format_args!(
                    "<i class=\"band {}\" style=\"left:{left:.4}%;width:{width:.4}%;top:{top}px\" data-tip=\"{tip}\"></i>\
                     <span class=bandtext style=\"{label}\">{}</span>",
                    span.what.kind,
                    escape(text)
                ),
            );
        }
        if rows.is_empty() {
            return;
        }
        push(
            out,
            format_args!(
                "<section class=faults><div class=row style=\"height:{}px\"><div class=label>what was done to the cluster</div>\
                 <div class=plot>{bands}</div></div></section>",
                rows.len() * 19 + 4
            ),
        );
    }

    fn lanes(&self, out: &mut String) {
        let unfolded = self.timeline.lanes.len() <= UNFOLDED;
        for (host, lane) in self.timeline.lanes.iter().enumerate() {
            let guilty = self.violation().is_some_and(|violation| violation.host == Some(host));
            let open = if unfolded || guilty { " open" } else { "" };
            let class = if guilty { "lane guilty" } else { "lane" };
            let name = escape(&self.name(host));
            push(out, format_args!("<details class=\"{class}\"{open}><summary><div class=row><div class=label><b>{name}</b>"));
            if guilty {
                out.push_str(" <em>broke the rule</em>");
            }
            out.push_str("</div><div class=plot><svg height=\"40\">");
            self.life(lane, out);
            self.crowd(lane, out);
            out.push_str("</svg></div></div></summary>");
            self.marks(lane, out);
            let mut peers: Vec<_> = lane.peers.iter().collect();
            peers.sort_by_key(|(id, _)| self.timeline.lanes.iter().position(|lane| lane.name.as_deref() == Some(id.as_str())));
            for (id, peer) in peers {
                if peer.status.until(self.end).next().is_some() {
                    self.peer(id.as_str(), peer, out);
                }
            }
            self.attempts(lane, out);
            out.push_str("</details>");
        }
    }

    fn rect(&self, out: &mut String, class: &str, (from, until): (u64, u64), (y, height): (f64, f64), tip: &str) {
        push(
            out,
            format_args!(
                "<rect class=\"{class}\" x=\"{:.4}%\" width=\"{:.4}%\" y=\"{y:.1}\" height=\"{height:.1}\" data-tip=\"{}\"/>",
                self.place(from),
                self.width(from, until).max(0.02),
                escape(&format!("{tip} ({} to {})", seconds(from.into()), seconds(until.into()))),
            ),
        );
    }

    fn life(&self, lane: &Lane, out: &mut String) {
        for span in lane.life.until(self.end) {
            let (class, tip) = match span.what {
                Life::Crashed => ("crashed", "crashed: no process"),
                Life::Frozen => ("frozen", "frozen: the process stands still"),
                Life::Leaving => ("leaving", "leaving the cluster"),
                Life::Off => ("off", "no power"),
                Life::Running => ("running", "running"),
                Life::Stopped => ("stopped", "stopped in good order"),
            };
            self.rect(out, class, (span.from, span.until), (3.0, 10.0), tip);
        }
    }

    /// How many others the node sees, and in which state, as areas above each other.
    fn crowd(&self, lane: &Lane, out: &mut String) {
        const PLACES: [(NodeStatus, &str); 3] = [
            (NodeStatus::Connected, "connected"),
            (NodeStatus::Connecting, "connecting"),
            (NodeStatus::Disconnected, "disconnected"),
        ];
        let place = |status: NodeStatus| PLACES.iter().position(|(one, _)| *one == status).unwrap_or(0);
        let mut changes: Vec<(u64, usize, bool)> = Vec::new();
        for peer in lane.peers.values() {
            for span in peer.status.until(self.end) {
                changes.push((span.from, place(span.what.0), true));
                changes.push((span.until, place(span.what.0), false));
            }
        }
        changes.sort_unstable();
        let unit = 24.0 / lane.peers.len().max(1) as f64;
        let mut counts = [0_usize; 3];
        for (index, (at, place, more)) in changes.iter().enumerate() {
            counts[*place] = if *more { counts[*place] + 1 } else { counts[*place].saturating_sub(1) };
            let next = changes.get(index + 1).map_or(self.end, |(at, ..)| *at);
            if next == *at {
                continue;
            }
            let tip = format!("sees {} connected, {} connecting, {} disconnected", counts[0], counts[1], counts[2]);
            let mut top = 40.0;
            for (count, (_, class)) in counts.iter().zip(PLACES).filter(|(count, _)| **count > 0) {
                let height = unit * *count as f64;
                top -= height;
                self.rect(out, class, (*at, next), (top, height), &tip);
            }
        }
    }

    fn marks(&self, lane: &Lane, out: &mut String) {
        out.push_str("<div class=row><div class=label>its application is told</div><div class=plot><svg height=\"14\">");
        for Mark { at, kind, text } in &lane.marks {
            let (class, symbol) = match kind {
                Kind::Down => ("down", "\u{25bc}"),
                Kind::Error => ("error", "!"),
                Kind::Status => ("status", "\u{25cf}"),
                Kind::Up => ("up", "\u{25b2}"),
            };
            push(
                out,
                format_args!(
                    "<text class=\"{class}\" x=\"{:.4}%\" y=\"11\" data-tip=\"{}\">{symbol}</text>",
                    self.place(*at),
                    escape(&format!("{} at {}", text, seconds((*at).into())))
                ),
            );
        }
        out.push_str("</svg></div></div>");
    }

    fn peer(&self, id: &str, peer: &Peer, out: &mut String) {
        push(out, format_args!("<div class=row><div class=label>sees {}</div><div class=plot><svg height=\"18\">", escape(id)));
        for span in peer.status.until(self.end) {
            let (status, reason) = span.what;
            let reason = reason.map_or(String::new(), |reason| format!(": {reason}"));
            let class = status.to_string();
            self.rect(out, &class, (span.from, span.until), (2.0, 9.0), &format!("{id} is {status}{reason}"));
        }
        for span in peer.sessions.until(self.end) {
            let tip = format!("session with {id} on connection {}, {}", span.what.conn, span.what.text);
            self.rect(out, "session", (span.from, span.until), (13.0, 3.0), &tip);
        }
        out.push_str("</svg></div></div>");
    }

    fn attempts(&self, lane: &Lane, out: &mut String) {
        let open = lane.conns.iter().filter(|(_, conn)| !conn.is_session);
        if lane.attempts.is_empty() && open.clone().next().is_none() {
            return;
        }
        out.push_str("<div class=row><div class=label>connections without a session</div><div class=plot><svg height=\"12\">");
        for span in &lane.attempts {
            self.rect(out, "attempt", (span.from, span.until), (3.0, 6.0), &span.what);
        }
        for (id, conn) in open {
            self.rect(out, "attempt", (conn.since, self.end), (3.0, 6.0), &format!("{id} {}, still open", conn.text));
        }
        out.push_str("</svg></div></div>");
    }

    fn events(&self, out: &mut String) {
        let mut rows: Vec<(u64, String, &str, String)> = Vec::new();
        for span in &self.timeline.faults {
            rows.push((span.from, "the plan".into(), "fault", span.what.text.clone()));
        }
        for (at, what) in &self.timeline.phases {
            rows.push((*at, "the plan".into(), "fault", what.clone()));
        }
        for (host, lane) in self.timeline.lanes.iter().enumerate() {
            for Mark { at, kind, text } in &lane.marks {
                let class = match kind {
                    Kind::Down => "down",
                    Kind::Error => "error",
                    Kind::Status => "status",
                    Kind::Up => "up",
                };
                rows.push((*at, self.name(host), class, text.clone()));
            }
        }
        if let Some(violation) = self.violation() {
            let at = u64::try_from(violation.at.as_nanos()).unwrap_or(u64::MAX);
            let place = violation.host.map_or_else(|| "the cluster".into(), |host| self.name(host));
            rows.push((at, place, "broken", format!("broken: {}: {}", violation.invariant, violation.detail)));
        }
        rows.sort_by_key(|(at, ..)| *at);
        for (at, place, class, text) in &rows[rows.len().saturating_sub(LISTED)..] {
            push(
                out,
                format_args!(
                    "<tr class={class}><td>{}</td><td>{}</td><td>{}</td></tr>\n",
                    seconds((*at).into()),
                    escape(place),
                    escape(text)
                ),
            );
        }
    }
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _infallible = out.write_fmt(text);
}

fn seconds(nanos: u128) -> String {
    format!("{:.3} s", nanos as f64 / 1e9)
}

fn short(seconds: f64) -> String {
    let text = format!("{seconds:.3}");
    text.trim_end_matches('0').trim_end_matches('.').into()
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            letter => out.push(letter),
        }
    }
    out
}
