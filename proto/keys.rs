//! API keys: what their text looks like, and what is stored of it.
//!
//! A text is `hm_<id>_<secret><check>`, all in lower-case hexadecimal: 16 characters that name the key, 48 that are secret,
//! and 8 that catch a mistyped or cut text before anybody is asked. What is stored is the SHA-256 of the whole text; the
//! secret has 192 random bits, so there is nothing to guess that a slow hash would protect.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::v1::Scope;

/// What every text begins with, so that scanners find one where it should not be.
pub const PREFIX: &str = "hm_";
/// The metadata that carries a key: `Bearer hm_…`.
pub const HEADER: &str = "authorization";

const ID_CHARACTERS: usize = 16;
const SECRET_CHARACTERS: usize = 48;
const CHECK_CHARACTERS: usize = 8;

impl Scope {
    /// As people write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Submit => "submit",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }
}

/// A key's text. Not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyText {
    text: String,
}

/// A text that is none of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an API key: wanted hm_, 16 characters, _ and 56 characters, as it was shown when it was created")]
pub struct NotAKey;

impl KeyText {
    /// A new key.
    #[must_use]
    pub fn mint() -> Self {
        Self::of(&hex::encode(rand::random::<[u8; ID_CHARACTERS / 2]>()))
    }

    /// A new secret for the key with this id.
    #[must_use]
    pub fn of(id: &str) -> Self {
        let secret = hex::encode(rand::random::<[u8; SECRET_CHARACTERS / 2]>());
        let body = format!("{PREFIX}{id}_{secret}");
        Self { text: format!("{body}{}", check(&body)) }
    }

    /// Understands a text.
    ///
    /// # Errors
    /// If it is no key's, or was changed on its way.
    pub fn parse(text: &str) -> Result<Self, NotAKey> {
        let rest = text.strip_prefix(PREFIX).ok_or(NotAKey)?;
        let (id, secret) = rest.split_once('_').ok_or(NotAKey)?;
        let hexadecimal = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let fits = secret.len() == SECRET_CHARACTERS + CHECK_CHARACTERS && is_id(id) && hexadecimal(secret);
        if !fits {
            return Err(NotAKey);
        }
        let (body, found) = text.split_at(text.len() - CHECK_CHARACTERS);
        if found != check(body) {
            return Err(NotAKey);
        }
        Ok(Self { text: text.to_owned() })
    }

    /// The key's name.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.text[PREFIX.len()..PREFIX.len() + ID_CHARACTERS]
    }

    /// What is stored.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(&self.text).into()
    }

    /// The text itself, for whoever keeps or sends it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "KeyText({PREFIX}{}_…)", self.id())
    }
}

/// True if this may name a key.
#[must_use]
pub fn is_id(id: &str) -> bool {
    id.len() == ID_CHARACTERS && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The SHA-256 of a text in lowercase hex: a short name for what may be long.
#[must_use]
pub fn short_name(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

fn check(body: &str) -> String {
    hex::encode(&Sha256::digest(body)[..CHECK_CHARACTERS / 2])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_minted_key_is_understood_and_no_two_are_the_same() {
        let (one, other) = (KeyText::mint(), KeyText::mint());
        assert_ne!(one, other);
        assert_eq!(KeyText::parse(one.reveal()), Ok(one.clone()));
        assert_eq!(one.reveal().len(), 3 + 16 + 1 + 48 + 8);
        let rotated = KeyText::of(one.id());
        assert_eq!(rotated.id(), one.id());
        assert_ne!(rotated.hash(), one.hash());
    }

    #[test]
    fn a_key_shows_its_id_and_never_its_secret() {
        let key = KeyText::mint();
        let shown = format!("{key:?}");
        assert!(shown.contains(key.id()) && !shown.contains(&key.reveal()[20..30]), "{shown}");
    }

    #[test]
    fn one_wrong_character_anywhere_is_noticed_without_asking_anybody() {
        let key = KeyText::mint();
        for place in 0..key.reveal().len() {
            let mut bytes = key.reveal().as_bytes().to_vec();
            bytes[place] = if bytes[place] == b'0' { b'1' } else { b'0' };
            assert_eq!(KeyText::parse(std::str::from_utf8(&bytes).unwrap()), Err(NotAKey), "at {place}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange_to_be_refused(text in "(hm_)?.{0,80}") {
            prop_assert!(KeyText::parse(&text).is_err());
        }
    }
}
