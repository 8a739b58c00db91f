//! Readers of outcomes: each follows one submission, from memory where it still is there, else from the tables; loses its
//! stream at any moment, and goes on behind the position that it has.

use std::sync::Arc;

use hashmesh::v1::PackedOutcomes;
use tokio::sync::oneshot::{self, error::TryRecvError};

use super::{
    clients::Client,
    reads::outcomes,
    world::{Event, World},
};
use crate::{
    engine::{Command, SubmissionHandle},
    shard::Shard,
};

#[derive(Debug)]
enum Step {
    Resolve,
    Finding(usize, oneshot::Receiver<Option<Arc<SubmissionHandle>>>),
    Follows(usize, Arc<SubmissionHandle>),
    Done,
}

#[derive(Debug)]
pub(super) struct Reader {
    client: usize,
    position: u64,
    step: Step,
}

impl Reader {
    pub(super) fn new(client: usize) -> Self {
        Self { client, position: 0, step: Step::Resolve }
    }

    pub(super) fn done(&self) -> bool {
        matches!(self.step, Step::Done)
    }
}

impl World {
    /// A reader looks around.
    pub(super) fn reader(&mut self, number: usize) {
        let client = self.readers[number].client;
        let step = std::mem::replace(&mut self.readers[number].step, Step::Resolve);
        let next = match step {
            Step::Resolve => self.find(number, client),
            Step::Finding(generation, mut answer) => match answer.try_recv() {
                Ok(Some(handle)) => Step::Follows(generation, handle),
                Ok(None) => self.read_tables(number, client),
                Err(TryRecvError::Closed) => Step::Resolve,
                Err(TryRecvError::Empty) => Step::Finding(generation, answer),
            },
            Step::Follows(generation, handle) => self.follow(number, generation, handle),
            Step::Done => Step::Done,
        };
        self.readers[number].step = next;
        if !self.readers[number].done() {
            let pause = self.chance.ms(5, 250);
            self.after(pause, Event::Reader(number));
        }
    }

    fn find(&mut self, number: usize, client: usize) -> Step {
        let Some(id) = self.clients[client].id else {
            return if self.calm && self.clients.get(client).is_some_and(Client::done) {
                Step::Done
            } else {
                Step::Resolve
            };
        };
        // Some read what is there, and do not follow.
        if self.chance.one_in(4) {
            return self.read_tables(number, client);
        }
        let Some(generation) = self.serving(Shard::of(id)) else { return Step::Resolve };
        let (reply, answer) = oneshot::channel();
        self.post(generation, Command::Find { id, reply });
        Step::Finding(generation, answer)
    }

    /// Rows behind the reader's position, from the tables.
    fn stored(&self, number: usize, client: usize) -> Vec<PackedOutcomes> {
        let position = self.readers[number].position;
        let Some(row) = self.clients[client].id.and_then(|id| self.tables.submissions.get(&id)) else {
            return Vec::new();
        };
        row.results.iter().filter_map(|results| outcomes(results).after_position(position)).take(5).collect()
    }

    fn take(&mut self, number: usize, client: usize, rows: &[PackedOutcomes]) {
        let Some(id) = self.clients[client].id else { return };
        let position = self.readers[number].position;
        let mut through = self.check.read(&self.tables, id, position, rows);
        if !self.calm && through > position && self.chance.one_in(6) {
            // It breaks off in the middle of what it got, and resumes there.
            through = position + 1 + self.chance.below(through - position);
            self.count("readers resumed in the middle");
        }
        self.readers[number].position = through;
    }

    fn read_tables(&mut self, number: usize, client: usize) -> Step {
        let rows = self.stored(number, client);
        self.take(number, client, &rows);
        let row = self.clients[client].id.and_then(|id| self.tables.submissions.get(&id));
        let all = row.is_some_and(|row| row.ended() && row.position() == self.readers[number].position);
        if all { Step::Done } else { Step::Resolve }
    }

    /// What a follower gets when its owner wakes it.
    fn follow(&mut self, number: usize, generation: usize, handle: Arc<SubmissionHandle>) -> Step {
        if self.generations[generation].live() && self.stalled(generation).is_some() {
            return Step::Follows(generation, handle);
        }
        let client = self.readers[number].client;
        let receiver = handle.tail();
        let (gone, tail) = (receiver.has_changed().is_err(), *receiver.borrow());
        let stored = self.tables.submissions.get(&handle.id).map_or(0, super::tables::SubmissionRow::position);
        if tail.position > stored {
            self.check.fail("1 durable", format!("position {} is told, {stored} is stored", tail.position));
        }
        while self.readers[number].position < tail.position {
            let position = self.readers[number].position;
            let rows = match handle.recent_after(position, 2_000) {
                Some(recent) => {
                    self.count("frames from memory");
                    recent.into_iter().map(|row| row.outcomes).collect()
                }
                None => self.stored(number, client),
            };
            if rows.is_empty() {
                break;
            }
            self.take(number, client, &rows);
        }
        if tail.ended || gone || self.chance.one_in(30) { Step::Resolve } else { Step::Follows(generation, handle) }
    }
}
