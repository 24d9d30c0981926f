//! The terminal while it shows the picture: raw, on its second screen; and given back as it was, however it ends.
//!
//! Only what xterm and everything after it understands is sent.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, Once, PoisonError};

use anyhow::Context;
use rustix::termios::{OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use super::render::Size;
use super::table::{Line, Style};

/// The second screen, no cursor, no wrapping at the right edge.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
const LEAVE: &str = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l";
/// Of a terminal that does not tell its size.
const USUAL: Size = Size { width: 80, height: 24 };

/// How the terminal was; empty while it is as it was.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);
static HOOK: Once = Once::new();

/// Holds the terminal; dropping gives it back. A panic anywhere gives it back as well, before it is told.
pub struct Terminal {
    _held: (),
}

/// Whether there is a person who can look and press keys.
pub fn is_there() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

impl Terminal {
    pub fn take() -> anyhow::Result<Terminal> {
        let doing = "setting the terminal up";
        let before = tcgetattr(io::stdin()).context(doing)?;
        let mut raw = before.clone();
        raw.make_raw();
        // Reading waits for one byte.
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        HOOK.call_once(|| {
            let told = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                give_back();
                told(panic);
            }));
        });
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        let terminal = Terminal { _held: () };
        tcsetattr(io::stdin(), OptionalActions::Now, &raw).context(doing)?;
        put(ENTER).context(doing)?;
        Ok(terminal)
    }

    pub fn size(&self) -> Size {
        match tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => Size {
                width: usize::from(size.ws_col),
                height: usize::from(size.ws_row),
            },
            _ => USUAL,
        }
    }

    pub fn draw(&self, lines: &[Line]) -> io::Result<()> {
        put(&frame(lines))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        give_back();
    }
}

/// Once is enough, and more does no harm. Nobody can be told if it fails.
fn give_back() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(before) = before {
        let _ = put(LEAVE);
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
    }
}

fn put(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}

/// The lines over what was there, without clearing first: that would flicker.
fn frame(lines: &[Line]) -> String {
    let mut text = String::from("\x1b[H");
    for (at, line) in lines.iter().enumerate() {
        let begin = if at == 0 { "" } else { "\r\n" };
        let style = match line.style {
            Style::Plain => "",
            Style::Heading => "\x1b[1m",
            Style::Bad => "\x1b[31m",
        };
        // Writing to a string cannot fail.
        let _ = write!(text, "{begin}{style}{}\x1b[0m\x1b[K", line.text);
    }
    text + "\x1b[J"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_ends_each_line_and_the_screen() {
        let lines = [Line::new(Style::Bad, "down"), Line::plain("up")];
        assert_eq!(
            frame(&lines),
            "\x1b[H\x1b[31mdown\x1b[0m\x1b[K\r\nup\x1b[0m\x1b[K\x1b[J"
        );
        assert_eq!(frame(&[]), "\x1b[H\x1b[J");
    }
}
