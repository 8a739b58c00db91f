//! What is said about a name that two sides may have, in the grammar of `rclone check --combined`: a sign, a space, the
//! name.
//!
//! The first side (rclone's source) is what there is now for `verify`, and A for `compare`; the second (its destination) is
//! the manifest, and B.

use std::fmt;

use super::manifest::put_line;

/// What is said about a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// Both sides have it, with equal digests.
    Equal,
    /// Missing on the first side.
    OnlySecond,
    /// Missing on the second side.
    OnlyFirst,
    /// Both sides have it, with different digests.
    Differs,
    /// A side could not be read, or has no digest to compare.
    Error,
}

impl Verdict {
    const ALL: [Self; 5] = [Self::Equal, Self::OnlySecond, Self::OnlyFirst, Self::Differs, Self::Error];

    /// The sign with which its line begins.
    pub(super) fn sign(self) -> char {
        match self {
            Self::Equal => '=',
            Self::OnlySecond => '-',
            Self::OnlyFirst => '+',
            Self::Differs => '*',
            Self::Error => '!',
        }
    }

    /// Puts its line. A name that cannot stand in a line is escaped as coreutils does, and the line then starts with `\`.
    pub(super) fn put(self, name: &[u8], out: &mut Vec<u8>) {
        put_line(self.sign(), name, out);
    }
}

/// How often each was said.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally([u64; 5]);

impl Tally {
    pub(super) fn count(&mut self, verdict: Verdict) {
        self.0[verdict as usize] += 1;
    }

    pub(super) fn of(&self, verdict: Verdict) -> u64 {
        self.0[verdict as usize]
    }

    /// True if anything but `=` was said.
    pub(super) fn flawed(&self) -> bool {
        Verdict::ALL.into_iter().any(|verdict| verdict != Verdict::Equal && self.of(verdict) > 0)
    }
}

/// As `3 =, 1 -, 2 *`: what was said, how often.
impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = Verdict::ALL.into_iter().filter(|verdict| *verdict == Verdict::Equal || self.of(*verdict) > 0);
        for (index, verdict) in said.enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            let what = match verdict {
                Verdict::Equal => "equal",
                Verdict::OnlySecond | Verdict::OnlyFirst => "on one side only",
                Verdict::Differs => "different",
                Verdict::Error => "not compared",
            };
            write!(formatter, "{separator}{} {what} ({})", self.of(verdict), verdict.sign())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_cannot_stand_in_a_line_is_escaped_as_coreutils_does() {
        let mut out = Vec::new();
        Verdict::Equal.put(b" a b", &mut out);
        Verdict::OnlySecond.put(b"a\\b", &mut out);
        Verdict::Differs.put(b"a\nb\r", &mut out);
        Verdict::Error.put(b"\xff", &mut out);
        assert_eq!(out, b"=  a b\n\\- a\\\\b\n\\* a\\nb\\r\n! \xff\n");
    }

    #[test]
    fn what_was_said_is_counted() {
        let mut tally = Tally::default();
        tally.count(Verdict::Equal);
        assert!(!tally.flawed());
        tally.count(Verdict::OnlyFirst);
        tally.count(Verdict::OnlyFirst);
        assert!(tally.flawed());
        assert_eq!(tally.to_string(), "1 equal (=), 2 on one side only (+)");
    }
}
