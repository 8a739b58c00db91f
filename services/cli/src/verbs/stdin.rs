//! Reading standard input, or a file, in pieces.

use std::{
    fs::File,
    io::{self, Read},
    thread,
};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::failure::Failure;

/// A piece, at most. Far below what a frame may hold.
const PIECE_BYTES: usize = 256 * 1024;
/// Pieces read ahead.
const PIECES_AHEAD: usize = 4;

/// The pieces of an input, each as soon as it can be read. An error is the last piece.
///
/// The reader is a thread and not a task: it may wait for standard input for ever, and such a thread must not keep the
/// runtime from ending. It ends with the input or when nobody wants its pieces.
pub(super) fn pieces(input: Input) -> Result<mpsc::Receiver<io::Result<Bytes>>, Failure> {
    let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
    let reader = thread::Builder::new().name("input".to_owned());
    reader.spawn(move || read(input, &sender)).map_err(|error| Failure::local("cannot start a thread", &error))?;
    Ok(receiver)
}

/// Where pieces come from.
#[derive(Debug)]
pub(super) enum Input {
    Stdin,
    File(File),
}

fn read(input: Input, pieces: &mpsc::Sender<io::Result<Bytes>>) {
    let mut input: Box<dyn Read> = match input {
        Input::Stdin => Box::new(io::stdin()),
        Input::File(file) => Box::new(file),
    };
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let piece = match input.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => Ok(Bytes::copy_from_slice(&buffer[..length])),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let last = piece.is_err();
        if pieces.blocking_send(piece).is_err() || last {
            return;
        }
    }
}
