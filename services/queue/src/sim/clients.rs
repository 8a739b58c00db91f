//! Clients, each with one submission: they find or create it, send its batches, send some again, seal or cancel it, and
//! lose their stream at any moment. What a Gateway's stream tells a client, it is told here by the same tail.

use std::{collections::BTreeMap, rc::Rc, sync::Arc};

use hashmesh::v1::{Algorithm, CacheMode, EndReason};
use tokio::sync::oneshot::{self, error::TryRecvError};
use uuid::Uuid;

use super::{
    chance::Chance,
    check::CLIENT,
    commits::short,
    content::{Content, PREFIX},
    plan::Plan,
    tables::{State, SubmissionRow, Tables},
    world::{Event, World},
};
use crate::{
    clock,
    core::{AlgorithmSet, NewBatchMeta},
    engine::{Command, CreateSubmission, Created, IncomingBatch, SubmissionHandle, Taken},
    error::QueueError,
    shard::Shard,
    store::model::{IdempotencyKey, NewSubmission, WorkOrder},
    wall::WallTime,
};

/// Batches that may be under way.
const WINDOW: usize = 4;

type Answer<T> = oneshot::Receiver<T>;

/// How far a client is.
#[derive(Debug)]
enum Step {
    /// Looks for its submission, or makes it.
    Begin,
    Creating(usize, Answer<Result<Created, QueueError>>),
    Created(usize, Arc<SubmissionHandle>),
    /// It has lost its stream, and knows its submission.
    Resolve,
    Finding(usize, Answer<Option<Arc<SubmissionHandle>>>),
    Claiming(usize, Arc<SubmissionHandle>, Answer<Option<u64>>),
    Open(Box<Stream>),
    /// Its seal is accepted: it looks at the tables now and then.
    Sealed,
    Done,
}

/// An open stream.
#[derive(Debug)]
struct Stream {
    generation: usize,
    handle: Arc<SubmissionHandle>,
    writer: u64,
    /// The next batch to send.
    next: u32,
    asked: Vec<Asked>,
    sealing: Option<Answer<Result<(), QueueError>>>,
    cancelling: Option<Answer<Result<(), QueueError>>>,
}

/// A batch that was sent.
#[derive(Debug)]
struct Asked {
    sequence: u32,
    version: u8,
    /// Sent before with other tasks: to be refused.
    other: bool,
    answer: Option<Answer<Result<Taken, QueueError>>>,
}

#[derive(Debug)]
pub(super) struct Client {
    number: usize,
    tenant: String,
    key: Option<String>,
    /// Tasks of each batch.
    batches: Vec<u32>,
    /// Of each batch, which cut it is.
    versions: Vec<u8>,
    keep_inputs: bool,
    max_attempts: u32,
    order: WorkOrder,
    whole: bool,
    pub(super) wants_cancel: bool,
    pub(super) id: Option<Uuid>,
    /// Batches that it was told are stored.
    pub(super) acknowledged: u32,
    cancelled: bool,
    step: Step,
}

impl Client {
    pub(super) fn new(number: usize, plan: &Plan, chance: &mut Chance) -> Self {
        let whole = chance.one_in(6);
        let count = if whole { 1 } else { chance.between(0, 10) };
        let largest = [3, 12, 40][chance.index(3)];
        let batches: Vec<u32> = (0..count).map(|_| chance.between(1, largest)).collect();
        let base = 1_790_000_000_000_000;
        let at = |chance: &mut Chance, low, high| WallTime(base + 1000 * i64::from(chance.between(low, high)));
        let order = WorkOrder {
            priority: u8::try_from(chance.below(10)).unwrap_or_default(),
            not_before: chance.one_in(8).then(|| at(chance, 0, 6_000)),
            deadline: chance.one_in(12).then(|| at(chance, 1_000, 60_000)),
            max_leased_tasks: chance.one_in(5).then(|| chance.between(1, 20)),
        };
        let keyed = plan.processes > 1 || plan.groups > 1 || chance.one_in(2);
        // Some share a key: the second finds what the first has made, and both write to it.
        Self {
            number,
            tenant: format!("tenant {}", number % plan.tenants),
            key: keyed.then(|| format!("key {number}")),
            versions: vec![0; batches.len()],
            batches,
            keep_inputs: chance.one_in(4),
            max_attempts: chance.between(1, 4),
            order,
            whole,
            wants_cancel: false,
            id: None,
            acknowledged: 0,
            cancelled: false,
            step: Step::Begin,
        }
    }

    pub(super) fn done(&self) -> bool {
        matches!(self.step, Step::Done)
    }

    pub(super) fn describe(&self, tables: &Tables) -> String {
        let row = self.id.and_then(|id| tables.submissions.get(&id));
        let row = row.map(|row| format!("{:?} {} of {}", row.state, row.position(), row.accepted()));
        let step = match &self.step {
            Step::Open(stream) => format!("open at batch {} of {}", stream.next, self.batches.len()),
            Step::Begin => "begins".to_owned(),
            Step::Resolve => "resolves".to_owned(),
            Step::Sealed => "is sealed".to_owned(),
            _ => "asks".to_owned(),
        };
        format!("client {} ({}) {step}: {row:?}", self.number, self.id.map(short).unwrap_or_default())
    }

    /// It cuts anew what is not accepted.
    fn recut(&mut self) {
        self.versions.iter_mut().skip(self.acknowledged as usize).for_each(|version| *version += 1);
    }

    /// It loses its stream, and perhaps what it had cut of what is not accepted.
    pub(super) fn disconnect(&mut self, recut: bool) {
        if self.done() {
            return;
        }
        if recut {
            self.recut();
        }
        self.step = if self.id.is_some() { Step::Resolve } else { Step::Begin };
    }
}

impl World {
    fn content(&mut self, number: usize, sequence: u32, version: u8) -> Rc<Content> {
        let client = &self.clients[number];
        let tasks = client.batches[sequence as usize];
        let content = Rc::new(Content::new(self.plan.seed, number, sequence, version, tasks, self.plan.odds));
        self.check.contents.insert(content.fingerprint, Rc::clone(&content));
        content
    }

    fn incoming(content: &Content) -> IncomingBatch {
        let meta = NewBatchMeta {
            sequence: content.sequence,
            task_count: content.tasks(),
            byte_count: u32::try_from(content.packed.len()).unwrap_or_default(),
            fingerprint: content.fingerprint,
            reference_prefix: content.by_reference.then(|| PREFIX.into()),
            expected: AlgorithmSet::default(),
        };
        IncomingBatch { meta, tasks: content.packed.clone(), names: None, received: clock::instant(), trace: None }
    }

    /// A client looks around.
    pub(super) fn client(&mut self, number: usize) {
        let step = std::mem::replace(&mut self.clients[number].step, Step::Done);
        let next = match step {
            Step::Begin => self.begin_submission(number),
            Step::Creating(generation, mut answer) => match answer.try_recv() {
                Ok(Ok(Created::New(handle) | Created::Found(handle, _))) => Step::Created(generation, handle),
                Ok(Err(_)) | Err(TryRecvError::Closed) => Step::Begin,
                Err(TryRecvError::Empty) => Step::Creating(generation, answer),
            },
            Step::Created(generation, handle) => self.created(number, generation, handle),
            Step::Resolve => self.resolve(number),
            Step::Finding(generation, mut answer) => match answer.try_recv() {
                Ok(Some(handle)) => self.claim(generation, handle),
                Ok(None) => self.look_up(number),
                Err(TryRecvError::Closed) => Step::Resolve,
                Err(TryRecvError::Empty) => Step::Finding(generation, answer),
            },
            Step::Claiming(generation, handle, mut answer) => match answer.try_recv() {
                Ok(Some(writer)) => self.open_stream(number, generation, handle, writer),
                Ok(None) | Err(TryRecvError::Closed) => Step::Resolve,
                Err(TryRecvError::Empty) => Step::Claiming(generation, handle, answer),
            },
            Step::Open(stream) => self.write(number, stream),
            Step::Sealed => self.wait_for_the_end(number),
            Step::Done => Step::Done,
        };
        self.clients[number].step = next;
        if !self.clients[number].done() {
            let waits = matches!(self.clients[number].step, Step::Sealed);
            let longest = if waits { 400 } else { 120 };
            let pause = self.chance.ms(1, longest);
            self.after(pause, Event::Client(number));
        }
    }

    /// Finds the submission of the client's key, or creates it.
    fn begin_submission(&mut self, number: usize) -> Step {
        let client = &self.clients[number];
        let (tenant, key) = (client.tenant.clone(), client.key.clone());
        if let Some(key) = &key
            && let Some((id, _)) = self.tables.keys.get(&(tenant.clone(), key.clone()))
        {
            self.clients[number].id = Some(*id);
            return Step::Resolve;
        }
        let shard = key.as_ref().map(|key| Shard::of_key(&tenant, key));
        let Some(generation) = self.serving(shard.unwrap_or(Shard::of(Uuid::nil()))) else { return Step::Begin };
        let new = NewSubmission {
            tenant,
            algorithms: vec![Algorithm::Crc64nvme],
            part_bytes: 0,
            max_attempts: client.max_attempts,
            keep_inputs: client.keep_inputs,
            retention_seconds: None,
            labels: BTreeMap::from([(CLIENT.to_owned(), number.to_string())]),
            retry_of: None,
            order: client.order,
            cache: CacheMode::Unspecified,
            expansion_uri: None,
            run: None,
            idempotency: key.map(|key| IdempotencyKey { key, options_fingerprint: [9; 32] }),
        };
        let whole = (client.whole && client.key.is_some()).then_some(client.versions[..].first().copied()).flatten();
        let whole = whole.and_then(|version| {
            let content = self.content(number, 0, version);
            let batch = Self::incoming(&content);
            let permit = self.admission.admit_now(batch.memory_bytes())?;
            Some((batch, permit))
        });
        let (reply, answer) = oneshot::channel();
        self.post(
            generation,
            Command::Create { create: Box::new(CreateSubmission { new, whole, trace: None }), reply },
        );
        Step::Creating(generation, answer)
    }

    fn created(&mut self, number: usize, generation: usize, handle: Arc<SubmissionHandle>) -> Step {
        if self.generations[generation].live() && self.stalled(generation).is_some() {
            return Step::Created(generation, handle);
        }
        let tail = handle.tail();
        let gone = tail.has_changed().is_err();
        let created = tail.borrow().created;
        if created {
            self.check.acknowledged(&self.tables, handle.id, 0);
            if !self.tables.submissions.contains_key(&handle.id) {
                self.check.fail("1 durable", format!("{} was created and is not stored", short(handle.id)));
            }
            self.clients[number].id = Some(handle.id);
            return Step::Resolve;
        }
        if gone { Step::Begin } else { Step::Created(generation, handle) }
    }

    /// Asks the owner of the client's submission for it.
    fn resolve(&mut self, number: usize) -> Step {
        let Some(id) = self.clients[number].id else { return Step::Begin };
        let Some(generation) = self.serving(Shard::of(id)) else { return Step::Resolve };
        let (reply, answer) = oneshot::channel();
        self.post(generation, Command::Find { id, reply });
        Step::Finding(generation, answer)
    }

    /// The owner does not know the submission: the tables say whether it has ended.
    fn look_up(&mut self, number: usize) -> Step {
        let client = &self.clients[number];
        let Some(row) = client.id.and_then(|id| self.tables.submissions.get(&id)) else { return Step::Resolve };
        if !row.ended() {
            return Step::Resolve;
        }
        let all = row.state == State::Cancelled || row.batches.len() == client.batches.len();
        if !all {
            self.check.fail("1 durable", format!("the submission of client {number} ended without all its batches"));
        }
        if row.state == State::Completed && client.cancelled {
            self.check.fail("2 cancel", format!("the submission of client {number} was cancelled and is completed"));
        }
        Step::Done
    }

    fn claim(&mut self, generation: usize, handle: Arc<SubmissionHandle>) -> Step {
        let (reply, answer) = oneshot::channel();
        self.post(generation, Command::ClaimWriter { id: handle.id, reply });
        Step::Claiming(generation, handle, answer)
    }

    /// `opened` says how far the tables are.
    fn open_stream(&mut self, number: usize, generation: usize, handle: Arc<SubmissionHandle>, writer: u64) -> Step {
        let Some(row) = self.tables.submissions.get(&handle.id) else { return Step::Resolve };
        let stored = row.next_sequence();
        for (sequence, batch) in row.batches.iter().enumerate() {
            // What is stored is what counts, whatever was cut since.
            let made = (0..=self.clients[number].versions[sequence]).rev().find(|version| {
                let tasks = self.clients[number].batches[sequence];
                let sequence = u32::try_from(sequence).unwrap_or_default();
                Content::new(self.plan.seed, number, sequence, *version, tasks, self.plan.odds).fingerprint
                    == batch.new.fingerprint
            });
            self.clients[number].versions[sequence] = made.unwrap_or_default();
        }
        let client = &mut self.clients[number];
        client.acknowledged = client.acknowledged.max(stored);
        self.count("streams opened");
        let (asked, sealing, cancelling) = (Vec::new(), None, None);
        Step::Open(Box::new(Stream { generation, handle, writer, next: stored, asked, sealing, cancelling }))
    }

    /// An open stream: acknowledgements first, then answers, then what the client does next.
    fn write(&mut self, number: usize, mut stream: Box<Stream>) -> Step {
        if self.generations[stream.generation].live() && self.stalled(stream.generation).is_some() {
            return Step::Open(stream);
        }
        let receiver = stream.handle.tail();
        let (gone, tail) = (receiver.has_changed().is_err(), *receiver.borrow());
        if tail.writer != stream.writer {
            self.count("writers replaced");
            return Step::Resolve;
        }
        self.check.acknowledged(&self.tables, stream.handle.id, tail.stored);
        let client = &mut self.clients[number];
        client.acknowledged = client.acknowledged.max(tail.stored);
        if tail.ended || gone {
            if gone && self.plan.recuts && !self.calm && self.chance.one_in(2) {
                self.clients[number].recut();
            }
            return Step::Resolve;
        }
        if !self.take_answers(number, &mut stream, tail.stored) {
            return Step::Resolve;
        }
        if let Some(next) = self.take_end(number, &mut stream) {
            return next;
        }
        if stream.sealing.is_none() && stream.cancelling.is_none() {
            self.send_next(number, &mut stream);
        }
        Step::Open(stream)
    }

    /// Most who have sealed only wait; some open another stream, seal again or cancel.
    fn wait_for_the_end(&mut self, number: usize) -> Step {
        let client = &self.clients[number];
        let ended = client.id.and_then(|id| self.tables.submissions.get(&id)).is_some_and(SubmissionRow::ended);
        if ended || client.wants_cancel || !self.calm && self.chance.one_in(20) { Step::Resolve } else { Step::Sealed }
    }

    /// What became of the batches that were sent. False: the stream is over.
    fn take_answers(&mut self, number: usize, stream: &mut Stream, stored: u32) -> bool {
        for mut asked in std::mem::take(&mut stream.asked) {
            let answer = match asked.answer.as_mut().map(Answer::try_recv) {
                Some(Err(TryRecvError::Empty)) => {
                    stream.asked.push(asked);
                    continue;
                }
                Some(Err(TryRecvError::Closed)) => return false,
                Some(Ok(answer)) => answer,
                // It is compared once it is stored.
                None => Ok(Taken::Compare),
            };
            match answer {
                Ok(Taken::Taken) => self.check_repeat(number, &asked, true),
                Ok(Taken::Compare) if stored <= asked.sequence => {
                    stream.asked.push(Asked { answer: None, ..asked });
                }
                Ok(Taken::Compare) => {
                    let found = self.tables.fingerprint(stream.handle.id, asked.sequence);
                    let sent = self.content(number, asked.sequence, asked.version).fingerprint;
                    self.count("repeats compared with the tables");
                    self.check_repeat(number, &asked, found == Some(sent));
                }
                Err(QueueError::Conflict(_)) => self.check_repeat(number, &asked, false),
                // The submission was thrown out of memory, is over, or is behind.
                Err(_) => return false,
            }
        }
        true
    }

    /// Promise 4: the same again is accepted, something else is refused.
    fn check_repeat(&mut self, number: usize, asked: &Asked, accepted: bool) {
        if asked.other && accepted {
            self.check.fail("4 idempotent", format!("client {number}: other tasks pass for batch {}", asked.sequence));
        }
        // Another cut of it may have been stored meanwhile.
        let stored = self.clients[number].id.and_then(|id| self.tables.fingerprint(id, asked.sequence));
        if !accepted && stored == Some(self.content(number, asked.sequence, asked.version).fingerprint) {
            self.check.fail("4 idempotent", format!("client {number}: batch {} is refused as another", asked.sequence));
        }
    }

    /// Answers to the seal and to the cancel.
    fn take_end(&mut self, number: usize, stream: &mut Stream) -> Option<Step> {
        let state = self.tables.submissions.get(&stream.handle.id).map(|row| row.state);
        if let Some(answer) = &mut stream.sealing {
            match answer.try_recv() {
                Err(TryRecvError::Empty) => return None,
                Ok(Ok(())) => {
                    if state == Some(State::Open) {
                        self.check.fail("1 durable", format!("the seal of client {number} is accepted and not stored"));
                    }
                    return Some(Step::Sealed);
                }
                _ => {}
            }
            stream.sealing = None;
            return Some(Step::Resolve);
        }
        if let Some(answer) = &mut stream.cancelling {
            match answer.try_recv() {
                Err(TryRecvError::Empty) => return None,
                Ok(Ok(())) => {
                    self.clients[number].cancelled = true;
                    if !matches!(state, Some(State::Cancelled)) {
                        self.check
                            .fail("1 durable", format!("the cancel of client {number} is accepted and not stored"));
                    }
                }
                _ => {}
            }
            stream.cancelling = None;
            return Some(Step::Resolve);
        }
        None
    }

    fn send_next(&mut self, number: usize, stream: &mut Stream) {
        let client = &self.clients[number];
        let count = u32::try_from(client.batches.len()).unwrap_or_default();
        let (id, acknowledged) = (stream.handle.id, client.acknowledged);
        if client.wants_cancel {
            self.clients[number].wants_cancel = false;
            let (reply, answer) = oneshot::channel();
            self.count("cancels");
            self.post(stream.generation, Command::Cancel { id, reason: EndReason::Caller, reply });
            stream.cancelling = Some(answer);
            return;
        }
        if !self.calm && stream.next > 0 && self.chance.one_in(5) {
            let sequence = self.chance.between(0, stream.next - 1);
            let other = sequence < acknowledged && self.chance.one_in(3);
            self.count(if other { "other tasks sent under a number" } else { "batches sent again" });
            let version = if other { 99 } else { self.clients[number].versions[sequence as usize] };
            self.send_batch(number, stream, sequence, version, other);
        }
        let room = WINDOW.saturating_sub(stream.asked.len());
        for _ in 0..self.chance.index(room + 1) {
            if stream.next < count {
                let version = self.clients[number].versions[stream.next as usize];
                self.send_batch(number, stream, stream.next, version, false);
                stream.next += 1;
            }
        }
        if stream.next == count && acknowledged == count {
            let (reply, answer) = oneshot::channel();
            self.post(stream.generation, Command::Seal { id, batch_count: count, reply });
            stream.sealing = Some(answer);
        }
    }

    fn send_batch(&mut self, number: usize, stream: &mut Stream, sequence: u32, version: u8, other: bool) {
        let content = self.content(number, sequence, version);
        let batch = Self::incoming(&content);
        let Some(permit) = self.admission.admit_now(batch.memory_bytes()) else { return };
        let (reply, answer) = oneshot::channel();
        let id = stream.handle.id;
        self.post(stream.generation, Command::Append { id, batch: Box::new(batch), permit, reply });
        stream.asked.push(Asked { sequence, version, other, answer: Some(answer) });
    }
}
