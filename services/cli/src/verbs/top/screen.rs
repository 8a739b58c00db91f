//! The terminal: drawn in place, and left as it was found.

use std::io;

use crossterm::{
    cursor::{Hide, MoveTo, Show},
    event::{Event, EventStream, KeyCode, KeyEventKind, KeyModifiers},
    execute, queue,
    style::Print,
    terminal::{
        self, BeginSynchronizedUpdate, Clear, ClearType, DisableLineWrap, EnableLineWrap, EndSynchronizedUpdate,
        EnterAlternateScreen, LeaveAlternateScreen,
    },
};
use futures::StreamExt as _;

use super::table::columns;
use crate::verbs::{failure::Failure, output::Output};

/// What to do with the size of a terminal that does not tell it.
const USUAL: (u16, u16) = (80, 24);

/// The alternate screen, until it is dropped.
#[derive(Debug)]
pub(super) struct Screen {
    events: EventStream,
    output: Output,
    /// What was drawn last is of no use: it had another size.
    resized: bool,
    _mode: Mode,
}

/// What someone at the terminal wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Redraw,
    Quit,
    Interrupt,
}

/// Raw mode and the alternate screen. Dropped, however that comes, they are left.
#[derive(Debug)]
struct Mode;

impl Mode {
    fn enter() -> io::Result<Self> {
        terminal::enable_raw_mode()?;
        // From here on a failure is undone too.
        let mode = Self;
        execute!(io::stdout(), EnterAlternateScreen, Hide, DisableLineWrap)?;
        Ok(mode)
    }
}

impl Drop for Mode {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = execute!(io::stdout(), EnableLineWrap, Show, LeaveAlternateScreen);
        let _ = terminal::disable_raw_mode();
    }
}

impl Screen {
    pub(super) fn open() -> Result<Self, Failure> {
        let mode = Mode::enter().map_err(|error| Failure::local("cannot draw on the terminal", &error))?;
        Ok(Self { events: EventStream::new(), output: Output::new(), resized: true, _mode: mode })
    }

    /// Columns and lines.
    pub(super) fn size() -> (usize, usize) {
        let (width, height) =
            terminal::size().ok().filter(|(width, height)| *width > 0 && *height > 0).unwrap_or(USUAL);
        (width.into(), height.into())
    }

    /// Replaces what is shown. Each cell is written once, so nothing flickers.
    pub(super) async fn draw(&mut self, lines: &[String]) -> Result<(), Failure> {
        let (width, height) = Self::size();
        let resized = std::mem::take(&mut self.resized);
        let put = put(self.output.buffer(), lines, (width, height), resized);
        put.map_err(|error| Failure::output(&error))?;
        self.output.flush().await
    }

    /// Waits until someone wants something.
    pub(super) async fn wish(&mut self) -> Result<Wish, Failure> {
        loop {
            match self.events.next().await {
                Some(Ok(event)) => {
                    self.resized |= matches!(event, Event::Resize(..));
                    if let Some(wish) = meaning(&event) {
                        return Ok(wish);
                    }
                }
                Some(Err(error)) => return Err(Failure::local("cannot read from the terminal", &error)),
                None => return Ok(Wish::Quit),
            }
        }
    }
}

fn put(out: &mut impl io::Write, lines: &[String], (width, height): (usize, usize), resized: bool) -> io::Result<()> {
    queue!(out, BeginSynchronizedUpdate)?;
    if resized {
        queue!(out, Clear(ClearType::All))?;
    }
    for (row, line) in (0..height).zip(lines.iter().map(String::as_str).chain(std::iter::repeat(""))) {
        let rest = " ".repeat(width.saturating_sub(columns(line)));
        queue!(out, MoveTo(0, u16::try_from(row).unwrap_or(u16::MAX)), Print(line), Print(rest))?;
    }
    queue!(out, EndSynchronizedUpdate)
}

/// What a key or a new size means, if it means something.
fn meaning(event: &Event) -> Option<Wish> {
    match event {
        Event::Resize(..) => Some(Wish::Redraw),
        Event::Key(key) if key.kind != KeyEventKind::Release => match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Wish::Interrupt),
            KeyCode::Char('q' | 'Q') => Some(Wish::Quit),
            KeyCode::Char('l') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Wish::Redraw),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crossterm::event::KeyEvent;

    use super::*;

    #[test]
    fn q_and_ctrl_c_end_it_and_other_keys_do_nothing() {
        let key = |code, modifiers| meaning(&Event::Key(KeyEvent::new(code, modifiers)));
        assert_eq!(key(KeyCode::Char('q'), KeyModifiers::NONE), Some(Wish::Quit));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Wish::Interrupt));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::NONE), None);
        assert_eq!(key(KeyCode::Enter, KeyModifiers::NONE), None);
        assert_eq!(meaning(&Event::Resize(80, 24)), Some(Wish::Redraw));
    }

    #[test]
    fn every_cell_is_written_and_no_line_feed_scrolls_the_screen() {
        let mut out = Vec::new();
        put(&mut out, &["ab".to_owned()], (4, 2), false).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "\x1b[?2026h\x1b[1;1Hab  \x1b[2;1H    \x1b[?2026l");
    }
}
