//! Lines that fit a terminal.

use unicode_width::UnicodeWidthChar as _;

use crate::verbs::name;

/// Text of others as a cell: what could move the cursor or hide text is escaped, what is longer than `most` columns is cut.
pub(super) fn foreign(text: &str, most: usize) -> String {
    let shown = name::display(text.as_bytes()).chars().fold(String::new(), |mut shown, character| {
        // Of no width are marks that join what stands before them, and those that turn the direction of writing.
        if character.width().is_none_or(|width| width == 0) {
            shown.extend(character.escape_unicode());
        } else {
            shown.push(character);
        }
        shown
    });
    if columns(&shown) <= most { shown } else { format!("{}~", cut(&shown, most.saturating_sub(1))) }
}

/// How many columns a text takes.
pub(super) fn columns(text: &str) -> usize {
    text.chars().map(|character| character.width().unwrap_or(0)).sum()
}

/// The longest beginning of a text that fits so many columns.
pub(super) fn cut(text: &str, width: usize) -> &str {
    let mut taken = 0;
    for (index, character) in text.char_indices() {
        taken += character.width().unwrap_or(0);
        if taken > width {
            return &text[..index];
        }
    }
    text
}

/// A text on so many lines at most.
pub(super) fn wrap(text: &str, width: usize, most: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() && lines.len() < most {
        let line = cut(rest, width);
        if line.is_empty() {
            break;
        }
        lines.push(line.to_owned());
        rest = &rest[line.len()..];
    }
    lines
}

/// Rows as lines: the first column begins on the left, all others end on the right.
pub(super) fn lines<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let widths: [usize; N] =
        std::array::from_fn(|column| rows.iter().map(|row| columns(&row[column])).max().unwrap_or(0));
    let line = |row: &[String; N]| {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            let room = " ".repeat(width - columns(cell));
            if column == 0 {
                line.push_str(cell);
                line.push_str(&room);
            } else {
                line.push_str("  ");
                line.push_str(&room);
                line.push_str(cell);
            }
        }
        line
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a", "1"], ["\u{4e16}\u{754c}", "22"]].map(|row| row.map(str::to_owned));
        assert_eq!(lines(&rows), ["a      1", "\u{4e16}\u{754c}  22"]);
    }

    #[test]
    fn a_cut_never_divides_a_character_or_exceeds_the_width() {
        assert_eq!(cut("abc", 2), "ab");
        assert_eq!(cut("a\u{4e16}b", 2), "a");
        assert_eq!(cut("\u{e9}t\u{e9}", 3), "\u{e9}t\u{e9}");
        assert_eq!(cut("abc", 0), "");
    }

    #[test]
    fn a_wrapped_text_is_whole_if_there_is_room_for_it() {
        assert_eq!(wrap("abcdefg", 3, 3), ["abc", "def", "g"]);
        assert_eq!(wrap("abcdefg", 3, 2), ["abc", "def"]);
        assert_eq!(wrap("abc", usize::MAX, 3), ["abc"]);
        assert!(wrap("", 3, 3).is_empty() && wrap("abc", 0, 3).is_empty() && wrap("\u{4e16}", 1, 3).is_empty());
    }

    #[test]
    fn foreign_text_shows_what_it_is_made_of() {
        assert_eq!(foreign("plain", 10), "plain");
        assert_eq!(foreign("a\x1b[2Jb", 40), "a\\u{1b}[2Jb");
        assert_eq!(foreign("a\u{202e}b", 40), "a\\u{202e}b");
        assert_eq!(foreign("e\u{301}", 40), "e\\u{301}");
        assert_eq!(foreign("very long indeed", 8), "very lo~");
    }
}
