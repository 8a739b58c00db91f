//! How coreutils writes names with line breaks: `\`, LF and CR become `\\`, `\n` and `\r`, and the line starts with `\`.

/// The name as it stands in a line, and whether the line must start with `\`.
pub(in crate::verbs) fn escape(name: &[u8], line: &mut Vec<u8>) {
    for byte in name {
        match byte {
            b'\\' => line.extend_from_slice(b"\\\\"),
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            other => line.push(*other),
        }
    }
}

/// True if the name cannot stand in a line as it is.
pub(super) fn needs_escape(name: &[u8]) -> bool {
    name.iter().any(|byte| matches!(byte, b'\\' | b'\n' | b'\r'))
}

/// The reverse of [`escape`]. None if a `\` is followed by anything else.
pub(super) fn unescape(escaped: &[u8]) -> Option<Vec<u8>> {
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
