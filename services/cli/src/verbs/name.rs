//! Names are bytes; people and JSON want text.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};

/// A name for a message on a terminal: what is not UTF-8 is replaced, and control characters, which could move the
/// cursor or hide text, are escaped.
pub(super) fn display(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    if !text.chars().any(char::is_control) {
        return text.into_owned();
    }
    text.chars().fold(String::with_capacity(text.len()), |mut shown, character| {
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
        shown
    })
}

/// A name in JSON: `name` if it is UTF-8, else `raw_name_base64`.
pub(super) fn json_key(name: &[u8]) -> (&'static str, std::borrow::Cow<'_, str>) {
    match std::str::from_utf8(name) {
        Ok(text) => ("name", text.into()),
        Err(_) => ("raw_name_base64", STANDARD.encode(name).into()),
    }
}

/// The reverse of [`json_key`].
pub(super) fn from_json(object: &Map<String, Value>) -> Option<Vec<u8>> {
    if let Some(name) = object.get("name").and_then(Value::as_str) {
        return Some(name.as_bytes().to_vec());
    }
    STANDARD.decode(object.get("raw_name_base64")?.as_str()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_move_the_cursor() {
        assert_eq!(display(b"a\x1b[2Jb\nc"), "a\\u{1b}[2Jb\\nc");
        assert_eq!(display("übrig".as_bytes()), "übrig");
        assert_eq!(display(b"\xff"), "\u{fffd}");
    }

    #[test]
    fn every_name_survives_json() {
        for name in [&b"plain"[..], b"\xff\xfe", b"", b"new\nline"] {
            let (key, value) = json_key(name);
            let object = Map::from_iter([(key.to_owned(), Value::from(value))]);
            assert_eq!(from_json(&object).as_deref(), Some(name));
        }
    }
}
