//! What a run did and saw, and whether that can be true of a mesh that keeps its promises.
//!
//! A [`writer`] and [`reader`]s speak the public protocol by themselves, through any number of crashes, and write down
//! what was sent, what was acknowledged and what was read, in order, into a [`History`]. The [`check`] knows nothing of
//! how hashmesh works: it compares what was promised with what was seen.

pub(crate) mod check;
mod check_tests;
pub(crate) mod client;
pub(crate) mod counters;
mod defects;
pub(crate) mod inputs;
pub(crate) mod reader;
pub(crate) mod run;
pub(crate) mod runs;
pub(crate) mod writer;

use std::{collections::BTreeMap, ops::Range, time::Duration};

use hashmesh::v1::{Outcome, OutcomeStatus, Submission};

/// A SHA-256.
pub(crate) type Digest = [u8; 32];

/// Everything about one submission. Inputs are known by their digests, which somebody else computed.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// Each task's digest, for all tasks that were to be sent, batch after batch.
    pub(crate) wanted: Vec<Digest>,
    /// Which of these each batch has, by sequence number. Batches that were sent once, or were about to be.
    pub(crate) submitted: BTreeMap<u32, Range<usize>>,
    /// When each batch was acknowledged for the first time, counted from the start.
    pub(crate) acknowledged: BTreeMap<u32, Duration>,
    /// Each time that the writer opened the submission.
    pub(crate) opened: Vec<Opening>,
    pub(crate) readers: Vec<Reader>,
    /// The submission after its end.
    pub(crate) end: Option<Submission>,
    /// What a look at the tables found wrong with the counters of the results' rows.
    pub(crate) counter_faults: Vec<String>,
}

/// The writer (re)opened the submission.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    /// What the server said is the next batch.
    pub(crate) next_sequence: u32,
    /// How many batches, all from the first, had been acknowledged by then.
    pub(crate) acknowledged_batches: u32,
}

/// What one reader saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reader {
    pub(crate) name: String,
    /// One per stream: a reader that loses its stream resumes after the last position that it saw.
    pub(crate) sessions: Vec<Session>,
}

/// What came on one stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Session {
    pub(crate) after_position: u64,
    pub(crate) outcomes: Vec<Observed>,
}

/// An outcome as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Observed {
    pub(crate) position: u64,
    pub(crate) sequence: u32,
    pub(crate) task: u32,
    pub(crate) status: OutcomeStatus,
    pub(crate) digest: Digest,
}

impl Reader {
    /// All outcomes in the order in which they came.
    pub(crate) fn outcomes(&self) -> impl Iterator<Item = &Observed> {
        self.sessions.iter().flat_map(|session| &session.outcomes)
    }

    /// One that was streamed all outcomes at once, as rows.
    pub(crate) fn of_rows(name: &str, rows: &[Outcome]) -> Self {
        let observed = |row: &Outcome| Observed {
            position: row.position,
            sequence: row.sequence,
            task: row.task,
            status: row.status(),
            digest: row.digests.first().map_or(Digest::default(), |digest| {
                let bytes = hex::decode(&digest.hex).expect("hexadecimal");
                bytes.try_into().expect("32 bytes")
            }),
        };
        let session = Session { after_position: 0, outcomes: rows.iter().map(observed).collect() };
        Self { name: name.to_owned(), sessions: vec![session] }
    }
}
