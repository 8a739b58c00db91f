//! What a directory entry is.

use std::{fs::FileType, os::unix::fs::FileTypeExt as _};

/// What a directory entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::verbs) enum Kind {
    File,
    Directory,
    Link,
    Fifo,
    Socket,
    BlockDevice,
    CharacterDevice,
    Unknown,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::File,
        Self::Directory,
        Self::Link,
        Self::Fifo,
        Self::Socket,
        Self::BlockDevice,
        Self::CharacterDevice,
        Self::Unknown,
    ];

    pub(in crate::verbs) fn of(file_type: FileType) -> Self {
        match file_type {
            kind if kind.is_file() => Self::File,
            kind if kind.is_dir() => Self::Directory,
            kind if kind.is_symlink() => Self::Link,
            kind if kind.is_fifo() => Self::Fifo,
            kind if kind.is_socket() => Self::Socket,
            kind if kind.is_block_device() => Self::BlockDevice,
            kind if kind.is_char_device() => Self::CharacterDevice,
            _ => Self::Unknown,
        }
    }

    /// The reverse of `as u8`.
    pub(super) fn from_byte(byte: u8) -> Self {
        Self::ALL.get(usize::from(byte)).copied().unwrap_or(Self::Unknown)
    }

    /// Says what it is instead of a regular file.
    pub(in crate::verbs) fn not_regular(self) -> String {
        let what = match self {
            Self::File => "a file",
            Self::Directory => "a directory",
            Self::Link => "a symbolic link",
            Self::Fifo => "a FIFO",
            Self::Socket => "a socket",
            Self::BlockDevice => "a block device",
            Self::CharacterDevice => "a character device",
            Self::Unknown => "of an unknown kind",
        };
        format!("is {what}, not a regular file")
    }
}
