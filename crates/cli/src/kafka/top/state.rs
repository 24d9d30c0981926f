//! What the person at the terminal looks at, and what each key changes. Pure.

/// A page of the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// Something of everything.
    #[default]
    Overview,
    Brokers,
    Topics,
    Partitions,
    Groups,
}

impl View {
    /// In the order of their keys, from 1.
    pub const ALL: [View; 5] = [
        View::Overview,
        View::Brokers,
        View::Topics,
        View::Partitions,
        View::Groups,
    ];

    pub fn name(self) -> &'static str {
        match self {
            View::Overview => "overview",
            View::Brokers => "brokers",
            View::Topics => "topics",
            View::Partitions => "partitions",
            View::Groups => "groups",
        }
    }

    pub fn place(self) -> usize {
        View::ALL.iter().position(|view| *view == self).unwrap_or(0)
    }

    /// How many columns rows can be sorted by. The overview has the orders of the others.
    fn columns(self) -> usize {
        match self {
            View::Overview => 1,
            View::Brokers => super::columns::BROKERS.len(),
            View::Topics => super::columns::TOPICS.len(),
            View::Partitions => super::columns::PARTITIONS.len(),
            View::Groups => super::columns::GROUPS.len(),
        }
    }

    fn sort_at_first(self) -> usize {
        match self {
            View::Overview | View::Brokers => 0,
            View::Topics => super::columns::TOPICS_BY_RATE,
            View::Partitions => super::columns::PARTITIONS_BY_RATE,
            View::Groups => super::columns::GROUPS_BY_LAG,
        }
    }
}

/// What the screen shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub view: View,
    /// The column that each view is sorted by.
    sorts: [usize; View::ALL.len()],
    /// Rows that are passed over.
    pub first: usize,
    pub paused: bool,
    pub help: bool,
}

impl Default for State {
    fn default() -> State {
        State {
            view: View::default(),
            sorts: View::ALL.map(View::sort_at_first),
            first: 0,
            paused: false,
            help: false,
        }
    }
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Quit,
    Sort,
    Pause,
    Help,
    View(View),
    NextView,
    Up,
    Down,
    PageUp,
    PageDown,
}

/// Rows that a page goes on by.
const PAGE: usize = 15;

impl State {
    pub fn sort(&self, view: View) -> usize {
        self.sorts[view.place()]
    }

    /// Takes a key over; false if it ends the looking. `rows` is how many the view has in all.
    pub fn press(&mut self, key: Key, rows: usize) -> bool {
        let last = rows.saturating_sub(1);
        match key {
            // Any key leaves the help first.
            Key::Quit if self.help => self.help = false,
            Key::Quit => return false,
            Key::Help => self.help = !self.help,
            Key::Pause => self.paused = !self.paused,
            Key::Sort => {
                let sort = &mut self.sorts[self.view.place()];
                *sort = (*sort + 1) % self.view.columns();
                self.first = 0;
            }
            Key::View(view) => self.turn_to(view),
            Key::NextView => self.turn_to(View::ALL[(self.view.place() + 1) % View::ALL.len()]),
            Key::Up => self.first = self.first.saturating_sub(1),
            Key::Down => self.first = (self.first + 1).min(last),
            Key::PageUp => self.first = self.first.saturating_sub(PAGE),
            Key::PageDown => self.first = (self.first + PAGE).min(last),
        }
        true
    }

    fn turn_to(&mut self, view: View) {
        (self.view, self.first, self.help) = (view, 0, false);
    }
}

/// Reads keys out of the bytes that a terminal sends, which may come in any pieces.
#[derive(Debug, Default)]
pub struct Keys {
    /// The beginning of a sequence.
    begun: Vec<u8>,
}

/// No sequence that means something here is longer.
const SEQUENCE_MAX: usize = 8;

impl Keys {
    pub fn read(&mut self, bytes: &[u8]) -> Vec<Key> {
        bytes.iter().filter_map(|byte| self.take(*byte)).collect()
    }

    fn take(&mut self, byte: u8) -> Option<Key> {
        match (self.begun.as_slice(), byte) {
            (_, 0x1b) => {
                self.begun = vec![byte];
                None
            }
            ([], _) => plain(byte),
            ([0x1b], b'[' | b'O') => {
                self.begun.push(byte);
                None
            }
            // Escape alone was pressed, then another key.
            ([0x1b], _) => {
                self.begun.clear();
                plain(byte)
            }
            (_, 0x40..=0x7e) => sequence(&std::mem::take(&mut self.begun)[2..], byte),
            (begun, _) => {
                if begun.len() < SEQUENCE_MAX {
                    self.begun.push(byte);
                } else {
                    self.begun.clear();
                }
                None
            }
        }
    }
}

fn plain(byte: u8) -> Option<Key> {
    Some(match byte {
        b'q' | b'Q' | 0x03 | 0x04 => Key::Quit,
        b's' => Key::Sort,
        b'p' | b' ' => Key::Pause,
        b'h' | b'?' => Key::Help,
        b'\t' => Key::NextView,
        b'k' => Key::Up,
        b'j' => Key::Down,
        b'1'..=b'5' => Key::View(View::ALL[usize::from(byte - b'1')]),
        b'b' => Key::View(View::Brokers),
        b't' => Key::View(View::Topics),
        b'g' => Key::View(View::Groups),
        _ => return None,
    })
}

fn sequence(parameters: &[u8], last: u8) -> Option<Key> {
    Some(match (parameters, last) {
        ([], b'A') => Key::Up,
        ([], b'B') => Key::Down,
        (b"5", b'~') => Key::PageUp,
        (b"6", b'~') => Key::PageDown,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_in_any_pieces() {
        let mut keys = Keys::default();
        let read = keys.read(b"s\x1b[Ap\x1b[6~x\x1b[200;9~3");
        let expected = [Key::Sort, Key::Up, Key::Pause, Key::PageDown, Key::View(View::Topics)];
        assert_eq!(read, expected);
        let pieces = [&b"\x1b"[..], b"[", b"5", b"~", b"\x1b", b"q", b"\x03"];
        let read: Vec<Key> = pieces.iter().flat_map(|piece| keys.read(piece)).collect();
        assert_eq!(read, [Key::PageUp, Key::Quit, Key::Quit]);
        // Garbage is forgotten, however long.
        assert_eq!(
            keys.read(&[b"\x1b[".as_slice(), &[b'1'; 1000], b"q"].concat()).last(),
            Some(&Key::Quit)
        );
    }

    #[test]
    fn each_view_keeps_its_order() {
        let mut state = State::default();
        assert!(state.press(Key::View(View::Topics), 0));
        let before = state.sort(View::Topics);
        for _ in 0..super::super::columns::TOPICS.len() {
            state.press(Key::Sort, 0);
        }
        assert_eq!(state.sort(View::Topics), before);
        state.press(Key::Sort, 0);
        for _ in View::ALL {
            state.press(Key::NextView, 0);
        }
        assert_eq!((state.view, state.sort(View::Topics)), (View::Topics, before + 1));
    }

    #[test]
    fn rows_are_passed_over_up_to_the_last() {
        let mut state = State::default();
        state.press(Key::Up, 20);
        assert_eq!(state.first, 0);
        state.press(Key::PageDown, 20);
        state.press(Key::PageDown, 20);
        assert_eq!(state.first, 19);
        state.press(Key::PageUp, 20);
        assert_eq!(state.first, 4);
        state.press(Key::Down, 0);
        assert_eq!(state.first, 0);
        state.press(Key::Help, 0);
        assert!(state.press(Key::Quit, 0) && !state.press(Key::Quit, 0));
    }
}
