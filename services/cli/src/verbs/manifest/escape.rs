//! How coreutils writes names with line breaks: `\`, LF and CR become `\\`, `\n` and `\r`, and the line starts with `\`.

/// How a line ends, and so what of a name must be escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::verbs) enum End {
    /// LF.
    Line,
    /// NUL, which no name has: none is escaped.
    Zero,
}

impl End {
    /// Puts the `\` with which a line starts whose name is escaped.
    pub(super) fn mark(self, name: &[u8], out: &mut Vec<u8>) {
        if self == Self::Line {
            mark(name, out);
        }
    }

    /// Puts the name in the middle of a line.
    pub(super) fn put_name_within(self, name: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Line => put_name(name, out),
            Self::Zero => out.extend_from_slice(name),
        }
    }

    /// Puts the name and the end.
    pub(super) fn put_name(self, name: &[u8], out: &mut Vec<u8>) {
        self.put_name_within(name, out);
        self.put(out);
    }

    /// Puts the end.
    pub(super) fn put(self, out: &mut Vec<u8>) {
        out.push(match self {
            Self::Line => b'\n',
            Self::Zero => 0,
        });
    }
}

/// Puts the `\` with which a line starts whose name is escaped.
pub(super) fn mark(name: &[u8], out: &mut Vec<u8>) {
    if needs_escape(name) {
        out.push(b'\\');
    }
}

/// Puts the name, escaped if it must be.
pub(in crate::verbs) fn put_name(name: &[u8], out: &mut Vec<u8>) {
    for byte in name {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            other => out.push(*other),
        }
    }
}

/// True if the name cannot stand in a line as it is.
fn needs_escape(name: &[u8]) -> bool {
    name.iter().any(|byte| matches!(byte, b'\\' | b'\n' | b'\r'))
}

/// Puts a line of a report: an ASCII sign, a space, and the name, escaped as in a manifest.
pub(in crate::verbs) fn put_line(sign: char, name: &[u8], out: &mut Vec<u8>) {
    mark(name, out);
    out.extend_from_slice(&[sign as u8, b' ']);
    put_name(name, out);
    out.push(b'\n');
}

/// The reverse of [`put_name`]. None if a `\` is followed by anything else.
pub(in crate::verbs) fn unescape(escaped: &[u8]) -> Option<Vec<u8>> {
    let mut name = Vec::with_capacity(escaped.len());
    let mut bytes = escaped.iter();
    while let Some(byte) = bytes.next() {
        name.push(match byte {
            b'\\' => match bytes.next()? {
                b'\\' => b'\\',
                b'n' => b'\n',
                b'r' => b'\r',
                _ => return None,
            },
            other => *other,
        });
    }
    Some(name)
}
