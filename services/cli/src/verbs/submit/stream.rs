//! Standard input as one input of any length.

use std::{
    io,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use hashmesh::{client::Client, v1::Algorithm};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};

use crate::verbs::{
    failure::{self, Failure},
    output::Output,
    print::put_single,
    shape::Shape,
    stdin::{Input, pieces},
};

/// What `sha256sum` calls standard input.
const NAME: &[u8] = b"-";

/// Streams standard input through the mesh and prints its digests. Nothing is stored.
pub(super) async fn run(
    client: &Client,
    algorithms: &[Algorithm],
    part_bytes: u64,
    shape: Shape,
) -> Result<u8, Failure> {
    // An input that ends with an error has no digest: the error is kept and looked at before any digest is printed.
    let error = Arc::new(OnceLock::new());
    let kept = Arc::clone(&error);
    let input = ReceiverStream::new(pieces(Input::Stdin)?).map_while(move |piece: io::Result<Bytes>| match piece {
        Ok(piece) => Some(piece),
        Err(error) => {
            // There is one error at most: it ends the input.
            let _ = kept.set(error);
            None
        }
    });
    let answer = client.compute_digest_stream(algorithms, part_bytes, input).await?;
    if let Some(error) = error.get() {
        return Err(Failure::local("cannot read standard input", error));
    }
    let digests = answer.digests.iter().filter_map(|digest| {
        let algorithm = Algorithm::known(digest.algorithm)?;
        Some((algorithm, hex::decode(&digest.hex).ok()?))
    });
    let digests: Vec<_> = digests.collect();
    if digests.len() != algorithms.len() {
        return Err(Failure::Local("the mesh answered with other digests than were asked for".into()));
    }
    let mut output = Output::new();
    put_single(shape, NAME, answer.hashed_bytes, &digests, output.buffer())?;
    output.flush().await?;
    Ok(failure::OK)
}
