//! Tables that fit a width: the first column gives way, then the last ones go. Pure.

use std::cmp::Ordering;

/// Narrower than this no name is shown.
const NAME_WIDTH_MIN: usize = 12;
const GAP: &str = "  ";

/// One column of a table about `T`s.
pub struct Column<T: 'static> {
    pub heading: &'static str,
    pub align: Align,
    pub text: fn(&T) -> String,
    pub order: fn(&T) -> Order,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// By what rows are sorted: large numbers first, words as in a dictionary.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    Number(f64),
    Word(String),
}

impl Order {
    /// What is not known comes last.
    pub fn of(number: Option<f64>) -> Order {
        Order::Number(number.unwrap_or(f64::NEG_INFINITY))
    }

    fn compare(&self, other: &Order) -> Ordering {
        match (self, other) {
            (Order::Number(one), Order::Number(other)) => other.total_cmp(one),
            (Order::Word(one), Order::Word(other)) => one.cmp(other),
            (Order::Number(_), Order::Word(_)) => Ordering::Less,
            (Order::Word(_), Order::Number(_)) => Ordering::Greater,
        }
    }
}

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    #[default]
    Plain,
    Heading,
    /// Something is wrong.
    Bad,
}

/// One line of a screen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    pub text: String,
    pub style: Style,
}

impl Line {
    pub fn plain(text: impl Into<String>) -> Line {
        let text = text.into();
        Line {
            text,
            style: Style::Plain,
        }
    }

    pub fn new(style: Style, text: impl Into<String>) -> Line {
        Line {
            text: text.into(),
            style,
        }
    }
}

/// Which rows of a table are shown, and in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The column that rows are sorted by.
    pub sort: usize,
    /// How many rows are passed over.
    pub first: usize,
    pub rows: usize,
    pub width: usize,
}

/// The heading and the rows that are in the window. Rows of the same order keep theirs.
pub fn lines<T>(columns: &[Column<T>], all: &[T], window: Window, style: fn(&T) -> Style) -> Vec<Line> {
    let sort = window.sort.min(columns.len().saturating_sub(1));
    let order = columns.get(sort).map(|column| column.order);
    let mut keyed: Vec<(Option<Order>, &T)> = all.iter().map(|row| (order.map(|order| order(row)), row)).collect();
    keyed.sort_by(|(one, _), (other, _)| match (one, other) {
        (Some(one), Some(other)) => one.compare(other),
        _ => Ordering::Equal,
    });
    let rows = keyed.into_iter().skip(window.first).take(window.rows);
    let rows: Vec<&T> = rows.map(|(_, row)| row).collect();
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| columns.iter().map(|column| printable(&(column.text)(row))).collect())
        .collect();
    let headings: Vec<String> = columns
        .iter()
        .enumerate()
        .map(|(at, column)| heading(column, at == sort))
        .collect();
    let widths = widths(&headings, &cells, window.width);
    let shown = |cells: &[String]| line(columns, cells, &widths);
    let mut lines = vec![Line::new(Style::Heading, shown(&headings))];
    lines.extend(
        cells
            .iter()
            .zip(rows)
            .map(|(cells, row)| Line::new(style(row), shown(cells))),
    );
    lines
}

/// The column that decides the order is marked.
fn heading<T>(column: &Column<T>, decides: bool) -> String {
    format!("{}{}", column.heading, if decides { "*" } else { "" })
}

/// As wide as the widest cell; fewer columns than there are if they do not fit.
fn widths(headings: &[String], rows: &[Vec<String>], width: usize) -> Vec<usize> {
    let widest = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([headings[column].chars().count()]).max().unwrap_or(0)
    };
    let mut widths: Vec<usize> = (0..headings.len()).map(widest).collect();
    loop {
        let total = widths.iter().sum::<usize>() + GAP.len() * widths.len().saturating_sub(1);
        let Some(too_much) = total.checked_sub(width).filter(|too_much| *too_much > 0) else {
            return widths;
        };
        let spare = widths[0].saturating_sub(NAME_WIDTH_MIN);
        if spare >= too_much || widths.len() == 1 {
            widths[0] = widths[0].saturating_sub(too_much);
            return widths;
        }
        widths.pop();
    }
}

fn line<T>(columns: &[Column<T>], cells: &[String], widths: &[usize]) -> String {
    let shown = cells.iter().zip(widths).zip(columns).map(|((cell, &width), column)| {
        let cell = cut(cell, width);
        match column.align {
            Align::Left => format!("{cell:width$}"),
            Align::Right => format!("{cell:>width$}"),
        }
    });
    shown.collect::<Vec<_>>().join(GAP).trim_end().to_owned()
}

/// At most so many characters; what is left out is told by the last one.
pub fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept = text.chars().take(width.saturating_sub(1));
    kept.chain((width > 0).then_some('…')).collect()
}

/// Names of groups are any text; a terminal must not obey it.
pub fn printable(text: &str) -> String {
    text.chars()
        .map(|letter| if letter.is_control() { '·' } else { letter })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column<(&str, f64)>] = &[
        Column {
            heading: "NAME",
            align: Align::Left,
            text: |row| row.0.to_owned(),
            order: |row| Order::Word(row.0.to_owned()),
        },
        Column {
            heading: "RATE",
            align: Align::Right,
            text: |row| row.1.to_string(),
            order: |row| Order::of(Some(row.1)),
        },
    ];

    fn text(rows: &[(&'static str, f64)], window: Window) -> Vec<String> {
        let lines = lines(COLUMNS, rows, window, |_| Style::Plain);
        lines.into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn rows_are_sorted_and_cut_to_the_window() {
        let rows = [("a-rather-long-name", 1.0), ("b", 30.0), ("c", 2.0), ("d", 2.0)];
        let mut window = Window {
            sort: 1,
            first: 0,
            rows: 3,
            width: 80,
        };
        assert_eq!(
            text(&rows, window),
            ["NAME  RATE*", "b        30", "c         2", "d         2"]
        );
        window.first = 2;
        assert_eq!(
            text(&rows, window),
            [
                "NAME                RATE*",
                "d                       2",
                "a-rather-long-name      1"
            ]
        );
        window.width = 20;
        assert_eq!(text(&rows, window)[2], "a-rather-lon…      1");
        window.width = 15;
        assert_eq!(text(&rows, window), ["NAME", "d", "a-rather-long-…"]);
        window = Window {
            sort: 0,
            first: 9,
            ..window
        };
        assert_eq!(text(&rows, window), ["NAME*  RATE"]);
    }

    #[test]
    fn a_terminal_obeys_no_name() {
        assert_eq!(printable("a\x1b[2Jb\n"), "a·[2Jb·");
        assert_eq!(
            (cut("äöü", 3), cut("äöü", 2), cut("äöü", 0)),
            ("äöü".into(), "ä…".into(), String::new())
        );
    }
}
