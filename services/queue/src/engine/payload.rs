//! The payload of unresolved batches in memory: a bounded cache in front of Postgres.

use std::collections::HashMap;
use std::collections::VecDeque;

use bytes::Bytes;
use hashmesh::v1::{PackedNames, PackedTasks};
use prost::Message as _;
use uuid::Uuid;

use crate::core::TaskRun;

/// What was stored of a batch besides its numbers.
#[derive(Clone, Debug)]
pub(crate) struct Payload {
    /// An encoded `PackedTasks` without names.
    pub(crate) tasks: Bytes,
    pub(crate) names: Option<PackedNames>,
    /// Decoded once a part of the batch is leased.
    decoded: Option<PackedTasks>,
}

impl Payload {
    pub(crate) fn new(tasks: Bytes, names: Option<PackedNames>) -> Self {
        Self { tasks, names, decoded: None }
    }

    fn bytes(&self) -> usize {
        // Decoded columns share the encoded bytes; their lengths do not.
        self.tasks.len() + self.names.as_ref().map_or(0, |names| names.data.len() + 4 * names.lengths.len())
    }

    /// The tasks of a run, encoded as they are sent to a worker.
    pub(crate) fn part(&mut self, run: TaskRun, task_count: u32) -> Result<Bytes, String> {
        if run == TaskRun::new(0, task_count) {
            return Ok(self.tasks.clone());
        }
        let decoded = match &mut self.decoded {
            Some(decoded) => decoded,
            empty => {
                let tasks = PackedTasks::decode(self.tasks.clone()).map_err(|error| error.to_string())?;
                empty.insert(tasks)
            }
        };
        let part = decoded.slice(run.first as usize, run.count as usize).map_err(|error| error.to_string())?;
        Ok(part.encode_to_vec().into())
    }

    /// The names of a run.
    pub(crate) fn names_of(&self, run: TaskRun) -> Option<PackedNames> {
        self.names.as_ref().map(|names| names.slice(run.first as usize, run.count as usize))
    }
}

type Key = (Uuid, u32);

/// Payloads by (submission, sequence). What is not committed yet is always kept: admission bounds it. What is committed is
/// kept within the budget; beyond it the newest goes first, because the oldest is leased next.
#[derive(Debug)]
pub(crate) struct PayloadCache {
    budget_bytes: usize,
    bytes: usize,
    payloads: HashMap<Key, Payload>,
    committed: VecDeque<Key>,
}

impl PayloadCache {
    pub(crate) fn new(budget_bytes: usize) -> Self {
        Self { budget_bytes, bytes: 0, payloads: HashMap::new(), committed: VecDeque::new() }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps the payload of a batch.
    pub(crate) fn insert(&mut self, key: Key, payload: Payload) {
        self.bytes += payload.bytes();
        if let Some(before) = self.payloads.insert(key, payload) {
            self.bytes -= before.bytes();
        }
    }

    /// The batch can be read from Postgres from now on.
    pub(crate) fn commit(&mut self, key: Key) {
        if self.payloads.contains_key(&key) {
            self.committed.push_back(key);
        }
        while self.bytes > self.budget_bytes {
            let Some(newest) = self.committed.pop_back() else { return };
            self.remove(newest);
        }
        // Resolved batches leave their keys behind; drop them before they outnumber the payloads.
        if self.committed.len() > 64 + 2 * self.payloads.len() {
            self.committed.retain(|key| self.payloads.contains_key(key));
        }
    }

    pub(crate) fn get(&mut self, key: Key) -> Option<&mut Payload> {
        self.payloads.get_mut(&key)
    }

    pub(crate) fn remove(&mut self, key: Key) {
        if let Some(payload) = self.payloads.remove(&key) {
            self.bytes -= payload.bytes();
        }
    }

    /// Drops everything of a submission with this many batches.
    pub(crate) fn forget(&mut self, submission: Uuid) {
        let mut freed = 0;
        self.payloads.retain(|key, payload| {
            let keep = key.0 != submission;
            freed += if keep { 0 } else { payload.bytes() };
            keep
        });
        self.bytes -= freed;
    }
}
