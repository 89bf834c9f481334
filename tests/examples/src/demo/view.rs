//! The live view: what is done now, who sees whom, what was reported last.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use noex_driver::Runtime;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Padding, Paragraph, Wrap};
use ratatui::{DefaultTerminal, Frame};

use super::board::{Board, Entry, Mood, NAMES, Report, Sight, What};
use super::lines::words;
use super::script::{HEARTBEAT, MISSES, STEPS};

/// Between two pictures.
const PERIOD: Duration = Duration::from_millis(80);
/// The width of a node's name and of its column.
const COLUMN: usize = 8;

/// Draws until the script has ended or the user has seen enough. The terminal is then as it was, also after a panic.
pub(super) fn show<T, R: Runtime>(board: &Arc<Board<R>>, script: &JoinHandle<T>) -> io::Result<()> {
    let mut terminal = ratatui::try_init()?;
    // A thread that nobody waits for: where the terminal is gone, crossterm may try to read from it for ever.
    let reading = board.clone();
    thread::spawn(move || read_keys(&reading));
    let shown = draw_all(&mut terminal, board, script);
    ratatui::try_restore().and(shown)
}

fn draw_all<T, R: Runtime>(terminal: &mut DefaultTerminal, board: &Board<R>, script: &JoinHandle<T>) -> io::Result<()> {
    while !script.is_finished() {
        terminal.draw(|frame| draw(frame, board))?;
        thread::sleep(PERIOD);
    }
    Ok(())
}

fn read_keys<R: Runtime>(board: &Board<R>) {
    while let Ok(event) = event::read() {
        if quits(&event) {
            board.quit();
        }
    }
}

/// Ctrl-C is a key like any other here.
fn quits(event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    let interrupt = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind == KeyEventKind::Press && (interrupt || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc))
}

fn draw<R: Runtime>(frame: &mut Frame<'_>, board: &Board<R>) {
    let log = board.entries(0);
    let rows = [Constraint::Length(1), Constraint::Length(6), Constraint::Length(8), Constraint::Min(3)];
    let [title, now, matrix, reports] = Layout::vertical(rows).areas(frame.area());
    draw_title(frame, title, board);
    draw_now(frame, now, &log);
    let legend = Line::from(" ● up   ✗ down   ○ has left   ? not heard of   · itself ").dim();
    let block = boxed(" Who sees whom ").title_bottom(legend);
    frame.render_widget(Paragraph::new(who_sees_whom(board)).block(block), matrix);
    draw_reports(frame, reports, &log);
}

fn draw_title<R: Runtime>(frame: &mut Frame<'_>, area: Rect, board: &Board<R>) {
    let about = format!(" five nodes on loopback, heartbeat {} ms × {MISSES}", HEARTBEAT.as_millis());
    let time = format!("{:.1} s   q: quit ", board.elapsed().as_secs_f64());
    let [left, right] = Layout::horizontal([Constraint::Fill(1), Constraint::Length(18)]).areas(area);
    frame.render_widget(Line::from(vec![" noex demo ".bold().reversed(), about.into()]), left);
    frame.render_widget(Line::from(time.dim()).right_aligned(), right);
}

/// What is done now, in words, and what came of it.
fn draw_now(frame: &mut Frame<'_>, area: Rect, log: &[Entry]) {
    let step = log.iter().rposition(|entry| matches!(entry.what, What::Step { .. }));
    let Some((begin, What::Step { number, title, about })) = step.map(|begin| (begin, &log[begin].what)) else { return };
    let finding = log[begin..].iter().rev().find_map(|entry| match &entry.what {
        What::Ended(how) if how.starts_with("FAILED") => Some(Line::from(how.clone().red().bold())),
        What::Ended(how) => Some(Line::from(how.clone().bold())),
        What::Seen(what) => Some(Line::from(format!("✓ {what}").green())),
        _ => None,
    });
    let text = vec![Line::from(title.bold().yellow()), Line::from(*about)];
    let block = boxed(format!(" Step {number} of {STEPS} "));
    let [text_area, finding_area] = Layout::vertical([Constraint::Length(3), Constraint::Length(1)]).areas(block.inner(area));
    frame.render_widget(block, area);
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), text_area);
    frame.render_widget(finding.unwrap_or_else(|| Line::from("… waiting to see that".dim())), finding_area);
}

/// A row for each node: how it sees the others.
fn who_sees_whom<R: Runtime>(board: &Board<R>) -> Vec<Line<'static>> {
    let header = NAMES.iter().map(|name| Span::from(format!("{name:^COLUMN$}")));
    let mut lines = vec![Line::from_iter([Span::from(" ".repeat(COLUMN))].into_iter().chain(header)).dim()];
    for (node, name) in NAMES.iter().enumerate() {
        let mood = board.mood(node);
        let mut row = vec![Span::from(format!("{name:<COLUMN$}")).bold()];
        for other in 0..NAMES.len() {
            let (symbol, style) = match board.sight(node, other) {
                None if node == other => ("·", Style::new().dim()),
                None => (" ", Style::new()),
                Some(Sight::Down) => ("✗", Style::new().red().bold()),
                Some(Sight::Left) => ("○", Style::new().dim()),
                Some(Sight::Unknown) => ("?", Style::new().dim()),
                Some(Sight::Up) => ("●", Style::new().green()),
            };
            // What a frozen node sees is what it saw.
            let style = if mood == Mood::Frozen { style.dim() } else { style };
            row.push(Span::styled(format!("{symbol:^COLUMN$}"), style));
        }
        row.push(Span::from("  "));
        row.push(match mood {
            Mood::Absent => "not started".dim(),
            Mood::Frozen => "frozen".cyan().bold(),
            Mood::Killed => "killed".red().bold(),
            Mood::Left => "left".dim(),
            Mood::Running => "running".green(),
        });
        lines.push(Line::from(row));
    }
    lines
}

/// The last reports that fit.
fn draw_reports(frame: &mut Frame<'_>, area: Rect, log: &[Entry]) {
    let told = |entry: &&Entry| matches!(entry.what, What::Deed { .. } | What::Heard { .. });
    let room = usize::from(area.height.saturating_sub(2));
    let mut lines: Vec<Line<'_>> = log.iter().rev().filter(told).take(room).map(report).collect();
    lines.reverse();
    frame.render_widget(Paragraph::new(lines).block(boxed(" What the nodes report ")), area);
}

fn report(entry: &Entry) -> Line<'static> {
    let text = Span::from(words(&entry.what));
    let text = match &entry.what {
        What::Heard { report: Report::Down { .. } | Report::Ended { .. } | Report::Error(_), .. } => text.red(),
        What::Heard { report: Report::Up { .. }, .. } => text.green(),
        What::Deed { .. } => text.bold(),
        _ => text,
    };
    Line::from(vec![format!("{:6.3}  ", entry.at.as_secs_f64()).dim(), text])
}

fn boxed<'a>(title: impl Into<Line<'a>>) -> Block<'a> {
    Block::bordered().title(title).border_style(Style::new().dim()).padding(Padding::horizontal(1))
}
