//! Names in messages, as coreutils shows them: in the quotes of a shell where a shell would need them, and where a name has a
//! colon, which messages are cut at (gnulib's `quotef`, its style "shell-escape").

use std::fmt::Write as _;

use unicode_width::UnicodeWidthChar as _;

/// A name for a message.
pub(super) fn quote(name: &[u8]) -> String {
    quote_in(name, utf8_locale())
}

/// The same, in quotes in any case (gnulib's `quoteaf`).
pub(super) fn quote_always(name: &[u8]) -> String {
    let quoted = quote(name);
    if quoted.starts_with(['\'', '"']) { quoted } else { format!("'{quoted}'") }
}

/// True if characters beyond ASCII can be shown, by the environment's locale.
fn utf8_locale() -> bool {
    let said =
        ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| std::env::var(name).ok().filter(|text| !text.is_empty()));
    said.is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.ends_with("utf-8") || locale.ends_with("utf8")
    })
}

fn quote_in(name: &[u8], utf8: bool) -> String {
    let units: Vec<Unit> = if utf8 { units(name) } else { name.iter().map(|byte| Unit::of_byte(*byte)).collect() };
    let alone = units.len() == 1;
    let special = units.iter().enumerate().any(|(index, unit)| unit.special(index == 0, alone));
    if !special && !units.is_empty() {
        return units.iter().filter_map(Unit::shown).collect();
    }
    let single_quote = units.contains(&Unit::Shown('\''));
    if single_quote && units.iter().enumerate().all(|(index, unit)| unit.fits_double_quotes(index == 0)) {
        return format!("\"{}\"", units.iter().filter_map(Unit::shown).collect::<String>());
    }
    let mut quoted = String::from("'");
    let mut escaping = false;
    for unit in units {
        match unit {
            Unit::Shown(character) => {
                // A quote that is shown ends the escapes by itself.
                if escaping && character != '\'' {
                    quoted.push_str("''");
                }
                escaping = false;
                if character == '\'' {
                    quoted.push_str("'\\'");
                }
                quoted.push(character);
            }
            Unit::Escaped(byte) => {
                if !escaping {
                    quoted.push_str("'$'");
                    escaping = true;
                }
                put_escape(byte, &mut quoted);
            }
        }
    }
    quoted.push('\'');
    quoted
}

/// A part of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Shown(char),
    /// Cannot be shown.
    Escaped(u8),
}

impl Unit {
    fn of_byte(byte: u8) -> Self {
        if byte == b' ' || byte.is_ascii_graphic() { Self::Shown(char::from(byte)) } else { Self::Escaped(byte) }
    }

    fn shown(&self) -> Option<char> {
        match self {
            Self::Shown(character) => Some(*character),
            Self::Escaped(_) => None,
        }
    }

    /// Must not stand outside of quotes.
    fn special(&self, first: bool, alone: bool) -> bool {
        match self {
            Self::Escaped(_) => true,
            Self::Shown('#' | '~') => first,
            Self::Shown('{' | '}') => alone,
            Self::Shown(character) => " !\"$&'()*;<=>?[\\^`|:".contains(*character),
        }
    }

    /// Means the same within the double quotes of a shell and of C.
    fn fits_double_quotes(&self, first: bool) -> bool {
        match self {
            Self::Escaped(_) => false,
            Self::Shown('#' | '~') => first,
            Self::Shown(character) => !"!\"$&()*;<=>?[\\^`|{}".contains(*character),
        }
    }
}

fn units(name: &[u8]) -> Vec<Unit> {
    let mut units = Vec::with_capacity(name.len());
    for part in name.utf8_chunks() {
        for character in part.valid().chars() {
            if character.width().is_some() {
                units.push(Unit::Shown(character));
            } else {
                let mut bytes = [0; 4];
                units.extend(character.encode_utf8(&mut bytes).bytes().map(Unit::Escaped));
            }
        }
        units.extend(part.invalid().iter().copied().map(Unit::Escaped));
    }
    units
}

fn put_escape(byte: u8, out: &mut String) {
    let letter = match byte {
        0x07 => 'a',
        0x08 => 'b',
        0x09 => 't',
        0x0a => 'n',
        0x0b => 'v',
        0x0c => 'f',
        0x0d => 'r',
        _ => {
            // Writing to a string does not fail.
            let _ = write!(out, "\\{byte:03o}");
            return;
        }
    };
    out.extend(['\\', letter]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_as_coreutils_does() {
        // As printed by sha256sum 9.1.
        for (name, quoted) in [
            ("d", "d"),
            ("no ne", "'no ne'"),
            ("no\nne", "'no'$'\\n''ne'"),
            ("no'ne", "\"no'ne\""),
            ("no:ne", "'no:ne'"),
            ("ü", "ü"),
            ("", "''"),
            ("~", "'~'"),
            ("a~", "a~"),
            ("#x", "'#x'"),
            ("x#", "x#"),
            ("a=b", "'a=b'"),
            ("\x01", "''$'\\001'"),
            ("a'b c", "\"a'b c\""),
            ("a\\b", "'a\\b'"),
            ("{", "'{'"),
            ("{}", "{}"),
            ("a{b", "a{b"),
            ("no'ne$x", "'no'\\''ne$x'"),
            ("-x", "-x"),
            ("]", "]"),
            ("%+,@", "%+,@"),
            ("a\x01\x02'b", "'a'$'\\001\\002'\\''b'"),
            ("''", "\"''\""),
            ("a'\\", "'a'\\''\\'"),
            ("\x7f", "''$'\\177'"),
            ("\x07", "''$'\\a'"),
            ("\u{85}", "''$'\\302\\205'"),
            ("ü1\x011", "'ü1'$'\\001''1'"),
        ] {
            assert_eq!(quote_in(name.as_bytes(), true), quoted);
        }
        assert_eq!(quote_in(b"a\xff1", true), "'a'$'\\377''1'");
        assert_eq!(quote_in("ü".as_bytes(), false), "''$'\\303\\274'");
    }
}
