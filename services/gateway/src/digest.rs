//! `ComputeDigest` and `ComputeDigestStream`: through Hash, nothing stored.

use std::{sync::Arc, time::Duration};

use hashmesh::{
    error::bad_field,
    gateway::v1::{
        ComputeDigestRequest, ComputeDigestResponse, ComputeDigestStreamRequest, ComputeDigestStreamResponse,
    },
    hash::v1 as hash,
};
use hashmesh_runtime::{
    flights::{Begun, Flights, Input},
    trace,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, Streaming};

use crate::{
    admission::StreamKind,
    call::Call,
    deadline::Deadline,
    error,
    service::{Gateway, hash_client},
    upstream::{Pace, Repeat, ask_by},
    validate,
};

/// From one piece to the end of the next.
const MAX_SILENCE: Duration = Duration::from_secs(60);
/// Pieces on their way to Hash.
const CAPACITY: usize = 1;

/// Digests that Hash has been asked for and has not answered.
pub(crate) type Digests = Flights<Asked, Result<hash::ComputeDigestResponse, Status>>;

/// What makes two calls equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Asked {
    /// No tenant learns by the time it takes what another has hashed.
    tenant: Arc<str>,
    algorithms: Vec<i32>,
    part_bytes: u64,
    data: Input,
}

/// Digests of one small input. Calls for the same at the same time are one to Hash.
pub(crate) async fn compute(
    gateway: &Gateway,
    request: ComputeDigestRequest,
    call: Call,
) -> Result<ComputeDigestResponse, Status> {
    let (algorithms, part_bytes) = algorithms(&request.algorithms, request.part_bytes)?;
    validate::digest_data(&request.data)?;
    let (tenant, data) = (call.caller.shared_tenant(), Input(request.data.clone()));
    let asked = Asked { tenant, algorithms: algorithms.clone(), part_bytes, data };
    let request = hash::ComputeDigestRequest { data: request.data, algorithms, part_bytes };
    let deadline = call.deadline;
    loop {
        let (upstream, request) = (Arc::clone(&gateway.hash), request.clone());
        let ask = || async move { ask_by!(upstream, hash_client, Repeat::Safe, deadline, compute_digest(request)) };
        // Whoever waits drives it; it is told as what caused it that it began here.
        let ask = || trace::within(trace::current(), ask());
        let run = async { Ok(gateway.digests.run(asked.clone(), ask).await) };
        match deadline.limit(run).await? {
            // Who began had less time than we have.
            (Begun::Before, Ok(Err(status))) if matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled) => {}
            (_, Ok(answer)) => {
                let hash::ComputeDigestResponse { digests, hashed_bytes } = answer?;
                return Ok(ComputeDigestResponse { digests, hashed_bytes });
            }
            (_, Err(panicked)) => {
                tracing::error!(%panicked, "asking for digests failed");
                return Err(error::internal());
            }
        }
    }
}

/// Digests of one input that comes in pieces. Each is passed on before the next is read.
pub(crate) async fn compute_stream(
    gateway: &Gateway,
    request: Request<Streaming<ComputeDigestStreamRequest>>,
) -> Result<ComputeDigestStreamResponse, Status> {
    let _place = gateway.admission.stream(StreamKind::Digest)?;
    let mut pieces = request.into_inner();
    let (sender, receiver) = mpsc::channel(CAPACITY);
    let mut receiver = Some(receiver);
    let hashing = gateway.hash.open(Repeat::Unsafe, Pace::Client, |channel| {
        // A stream can be sent once: a second attempt, at another process, is up to the client.
        let pieces = receiver.take().map(ReceiverStream::new);
        async move {
            let pieces = pieces.ok_or_else(|| error::unavailable("the hash service cannot be reached; try again"))?;
            Ok(hash_client(channel).compute_digest_stream(pieces).await?.into_inner())
        }
    });
    tokio::pin!(hashing);
    tokio::select! {
        // Before the input's end this can only be an error.
        answer = &mut hashing => return answer.map(|(answer, _slot)| response(answer)),
        passed = pass_on(&mut pieces, sender) => passed?,
    }
    hashing.await.map(|(answer, _slot)| response(answer))
}

fn response(answer: hash::ComputeDigestStreamResponse) -> ComputeDigestStreamResponse {
    ComputeDigestStreamResponse { digests: answer.digests, hashed_bytes: answer.hashed_bytes }
}

/// Passes validated pieces on until the client has sent all of them.
async fn pass_on(
    pieces: &mut Streaming<ComputeDigestStreamRequest>,
    sender: mpsc::Sender<hash::ComputeDigestStreamRequest>,
) -> Result<(), Status> {
    let mut first = true;
    loop {
        // Nobody can be pinged on a stream that is answered at its end, so whoever is silent keeps no place here.
        let piece = Deadline::after(MAX_SILENCE).limit(pieces.message()).await;
        let piece = piece.map_err(|status| error::from_client(&status).unwrap_or(status))?;
        let Some(piece) = piece else {
            if first {
                return Err(error::protocol_violation("the stream ended before its first frame; send at least one"));
            }
            return Ok(());
        };
        let (algorithms, part_bytes) = match (first, piece.algorithms.is_empty(), piece.part_bytes) {
            (true, _, part_bytes) => algorithms(&piece.algorithms, part_bytes)?,
            (false, true, 0) => (Vec::new(), 0),
            (false, false, _) => return Err(bad_field("algorithms", "must be empty in every frame but the first")),
            (false, true, _) => return Err(bad_field("part_bytes", "must be 0 in every frame but the first")),
        };
        first = false;
        validate::digest_data(&piece.data)?;
        let piece = hash::ComputeDigestStreamRequest { algorithms, data: piece.data, part_bytes };
        if sender.send(piece).await.is_err() {
            // Hash has stopped reading; its answer says why.
            return std::future::pending().await;
        }
    }
}

/// Algorithms, and the part size of those that are composite.
fn algorithms(numbers: &[i32], part_bytes: u64) -> Result<(Vec<i32>, u64), Status> {
    let algorithms = validate::algorithms("algorithms", numbers)?;
    let part_bytes = validate::part_bytes("part_bytes", &algorithms, part_bytes)?;
    Ok((algorithms.into_iter().map(i32::from).collect(), part_bytes))
}
