//! Percent-encoding (RFC 3986, 2.1).

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Appends bytes: everything outside the unreserved set and `/` as `%XX`.
pub(super) fn encode(bytes: &[u8], uri: &mut String) {
    for byte in bytes {
        if *byte == b'/' || unreserved(*byte) {
            uri.push(char::from(*byte));
        } else {
            uri.push('%');
            uri.push(char::from(HEX[usize::from(byte >> 4)]));
            uri.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

/// The bytes that an encoded text stands for. None if a `%` is not followed by two digits.
#[must_use]
pub fn decode(encoded: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let (value, tail) = escape(tail)?;
        bytes.push(value);
        rest = tail;
    }
    Some(bytes)
}

/// Checks that every byte may stand in a path, and that no `%` is there without its digits. `decoded` may refuse what is
/// encoded.
pub(super) fn check_path(path: &[u8], decoded: impl Fn(u8) -> Result<(), String>) -> Result<(), String> {
    let mut rest = path;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte == b'%' {
            let (value, tail) = escape(tail).ok_or("a `%` must be followed by two hexadecimal digits")?;
            decoded(value)?;
            rest = tail;
        } else if !path_character(*byte) {
            return Err(format!("the byte 0x{byte:02X} must be percent-encoded, as %{byte:02X}"));
        }
    }
    Ok(())
}

fn escape(digits: &[u8]) -> Option<(u8, &[u8])> {
    let [high, low, rest @ ..] = digits else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some((digit(*high)? << 4 | digit(*low)?, rest))
}

/// RFC 3986, 2.3.
fn unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// RFC 3986, 3.3: what may stand in a path unescaped. We write less, and read all of it.
fn path_character(byte: u8) -> bool {
    unreserved(byte)
        || matches!(
            byte,
            b'/' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@'
        )
}
