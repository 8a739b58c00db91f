//! Commands from clients: each becomes a decision of the core and, if it is new, a unit in the submission's lane.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use hashmesh::{tasks::without_inputs, v1::EndReason};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::{
    Admitted, CreateSubmission, Created, IncomingBatch, Taken,
    handle::{SubmissionHandle, Tail},
    lane::After,
    payload::Payload,
    run::{Engine, Live},
    traces::UnitSpan,
};
use crate::{
    clock,
    core::{Appended, Phase, Sealed},
    error::QueueError,
    mutant::{self, Mutant},
    shard::Shard,
    store::model::{IdempotencyKey, NewBatch, NewSubmission, Recovered, Write},
    wall::WallTime,
};

impl Engine {
    /// Creates a submission, or finds the unfinished one with the same key.
    pub(super) fn create(&mut self, create: CreateSubmission) -> Result<Created, QueueError> {
        let CreateSubmission { new, whole, trace } = create;
        let Some(shard) = self.shard_for(&new) else { return Err(QueueError::NotOwner { owner: None }) };
        if let Some(IdempotencyKey { key, .. }) = &new.idempotency
            && let Some((id, fingerprint)) = self.keys.get(&(new.tenant.clone(), key.clone()))
            && let Some(live) = self.live.get(id)
        {
            return Ok(Created::Found(Arc::clone(&live.handle), *fingerprint));
        }
        if let Some((batch, _)) = &whole {
            self.quotas.check(WallTime::now(), &new.tenant, &batch.meta)?;
            self.quotas.count(&new.tenant, &batch.meta);
        }
        let id = self.mint.mint(Some(shard));
        self.core.create_for(id, &new.tenant, &new.algorithms, new.max_attempts, new.order);
        let handle = self.go_live(id, &new, Tail::default());
        if let Some(uri) = &new.expansion_uri {
            let now = self.now();
            self.expansions.begin(now, id, uri, Bytes::new());
            if let Some(live) = self.live.get_mut(&id) {
                live.listing_cause = trace;
            }
        }
        let mut writes = vec![Write::Create(new)];
        let mut after = After { created: true, ..After::default() };
        if let Some((batch, permit)) = whole {
            self.append_whole(id, batch, permit, &mut writes, &mut after);
        }
        self.push(id, writes, after);
        Ok(Created::New(handle))
    }

    /// The shard of a new submission, if it may be one of ours.
    fn shard_for(&self, new: &NewSubmission) -> Option<Shard> {
        let ours = self.shards.now();
        match &new.idempotency {
            Some(IdempotencyKey { key, .. }) => {
                Some(Shard::of_key(&new.tenant, key)).filter(|shard| ours.contains(*shard))
            }
            None => {
                let all: Vec<Shard> = ours.iter().collect();
                let [random, ..] = clock::random_bytes();
                all.get(usize::from(random) % all.len().max(1)).copied()
            }
        }
    }

    /// Adds the only batch and the seal to the unit that creates their submission.
    fn append_whole(
        &mut self,
        id: Uuid,
        mut batch: IncomingBatch,
        permit: Admitted,
        writes: &mut Vec<Write>,
        after: &mut After,
    ) {
        let now = self.now();
        match self.core.append(now, id, &batch.meta) {
            Ok(Appended::New { accepted_through, kept }) => {
                after.received = self.note_received(id, 0, batch.meta.task_count, batch.received);
                after.span = UnitSpan::commit(id, &mut batch);
                writes.push(self.keep(id, batch, accepted_through, kept, None));
                after.stored = Some((1, accepted_through));
                after.permit = Some(permit);
            }
            // Its algorithms were checked by the caller; the submission stays open and the caller is told by the append
            // that follows a found key.
            other => tracing::error!(?other, "the first batch of a new submission was not taken"),
        }
        if let Ok(Sealed::New { complete }) = self.core.seal(id, 1) {
            write_seal(1, complete, writes, after);
        }
    }

    /// Takes a batch: the caller learns at once whether it has its place; that it is stored shows in the tail.
    pub(super) fn append(&mut self, id: Uuid, mut batch: IncomingBatch, permit: Admitted) -> Result<Taken, QueueError> {
        if !self.works_on(id) {
            return Err(QueueError::NotOwner { owner: None });
        }
        if self.expansions.lists(id) {
            return Err(QueueError::Expands);
        }
        let now = self.now();
        let sequence = batch.meta.sequence;
        // What is sent again was counted before.
        if self.core.awaits(id) == Some(sequence)
            && let Some(live) = self.live.get(&id)
        {
            self.quotas.check(WallTime::now(), &live.handle.tenant, &batch.meta)?;
        }
        match self.core.append(now, id, &batch.meta) {
            Ok(Appended::Repeated) => Ok(Taken::Taken),
            Ok(Appended::Elsewhere) if mutant::active(Mutant::RepeatNotCompared) => Ok(Taken::Taken),
            Ok(Appended::Elsewhere) => Ok(Taken::Compare),
            Ok(Appended::New { accepted_through, kept }) => {
                if let Some(live) = self.live.get(&id) {
                    self.quotas.count(&live.handle.tenant, &batch.meta);
                }
                let received = self.note_received(id, sequence, batch.meta.task_count, batch.received);
                let span = UnitSpan::commit(id, &mut batch);
                let write = self.keep(id, batch, accepted_through, kept, None);
                let stored = Some((sequence + 1, accepted_through));
                let after = After { stored, received, span, permit: Some(permit), ..After::default() };
                self.push(id, vec![write], after);
                if mutant::active(Mutant::AcknowledgeBeforeCommit)
                    && let Some(live) = self.live.get(&id)
                {
                    live.tail.send_modify(|tail| tail.stored = sequence + 1);
                }
                Ok(Taken::Taken)
            }
            Err(refusal) => Err(QueueError::append(refusal, sequence)),
        }
    }

    /// Keeps a batch's payload for its leases, if they are near, and makes the row to store.
    pub(super) fn keep(
        &mut self,
        id: Uuid,
        batch: IncomingBatch,
        accepted_through: u64,
        near: bool,
        listed_to: Option<Bytes>,
    ) -> Write {
        let IncomingBatch { meta, tasks, names, received: _, trace } = batch;
        let live = self.live.get_mut(&id);
        let keep_inputs = live.as_ref().is_some_and(|live| live.keep_inputs);
        if near {
            self.payloads.insert((id, meta.sequence), Payload::new(tasks.clone(), names.clone()));
            if let (Some(live), Some(context)) = (live, trace) {
                live.contexts.insert(meta.sequence, context);
            }
        }
        let without_inputs = if keep_inputs { None } else { without_inputs(&tasks) };
        Write::Batch(NewBatch {
            sequence: meta.sequence,
            task_count: meta.task_count,
            byte_count: meta.byte_count,
            accepted_through,
            fingerprint: meta.fingerprint,
            tasks,
            without_inputs,
            names,
            reference_prefix: meta.reference_prefix.as_deref().map(str::to_owned),
            listed_to,
            trace_context: trace,
        })
    }

    /// Seals a submission; answers once that is committed.
    pub(super) fn seal(&mut self, id: Uuid, batch_count: u32, reply: oneshot::Sender<Result<(), QueueError>>) {
        if !self.works_on(id) {
            return drop(reply.send(Err(QueueError::NotOwner { owner: None })));
        }
        if self.expansions.lists(id) {
            return drop(reply.send(Err(QueueError::Expands)));
        }
        match self.core.seal(id, batch_count) {
            Err(refusal) => drop(reply.send(Err(QueueError::seal(refusal, batch_count)))),
            // The first seal is in the lane or committed; an empty unit behind it answers after it.
            Ok(Sealed::Repeated) => self.push(id, Vec::new(), After { reply: Some(reply), ..After::default() }),
            Ok(Sealed::New { complete }) => {
                let (mut writes, mut after) = (Vec::new(), After { reply: Some(reply), ..After::default() });
                write_seal(batch_count, complete, &mut writes, &mut after);
                self.push(id, writes, after);
            }
        }
    }

    /// Cancels a submission; answers once that is committed.
    pub(super) fn cancel(&mut self, id: Uuid, reason: EndReason, reply: oneshot::Sender<Result<(), QueueError>>) {
        if !self.works_on(id) {
            return drop(reply.send(Err(QueueError::NotOwner { owner: None })));
        }
        match self.core.cancel(id) {
            Err(refusal) => drop(reply.send(Err(refusal.into()))),
            Ok(false) => self.push(id, Vec::new(), After { reply: Some(reply), ..After::default() }),
            Ok(true) => {
                let after = After { ended: true, reply: Some(reply), ..After::default() };
                self.expansions.end(id);
                self.push(id, vec![Write::Cancel { reason, error: None }], after);
            }
        }
    }

    /// Makes the caller the submission's writer.
    pub(super) fn claim_writer(&mut self, id: Uuid) -> Option<u64> {
        let live = self.live.get(&id)?;
        let mut writer = 0;
        live.tail.send_modify(|tail| {
            tail.writer += 1;
            writer = tail.writer;
        });
        Some(writer)
    }

    /// Takes up an unfinished submission from the tables.
    pub(super) fn recover(&mut self, recovered: &Recovered) {
        let now = self.now();
        let tail = Tail {
            created: true,
            stored: recovered.next_sequence,
            accepted: recovered.accepted_tasks,
            position: recovered.totals.recorded(),
            totals: recovered.totals,
            sealed: recovered.batch_count.is_some(),
            ..Tail::default()
        };
        let new = NewSubmission {
            tenant: recovered.tenant.clone(),
            algorithms: recovered.algorithms.clone(),
            part_bytes: recovered.part_bytes,
            max_attempts: recovered.max_attempts,
            keep_inputs: recovered.keep_inputs,
            // Nothing that is in memory depends on it.
            retention_seconds: None,
            labels: BTreeMap::new(),
            retry_of: None,
            order: recovered.order,
            cache: recovered.cache,
            expansion_uri: recovered.expansion_uri.clone(),
            run: None,
            // Its key is in the tables, where callers look first.
            idempotency: None,
        };
        self.go_live(recovered.id, &new, tail);
        let complete = self.core.recover(now, recovered);
        if let Some(loaded) = &recovered.loaded {
            self.keep_contexts(recovered.id, loaded);
        }
        if let (Some(uri), None) = (&recovered.expansion_uri, recovered.batch_count) {
            self.expansions.begin(now, recovered.id, uri, recovered.listed_to.clone().unwrap_or_default());
        }
        debug_assert!(self.core.phase(recovered.id) != Some(Phase::Cancelling));
        if complete {
            self.push(recovered.id, vec![Write::Complete], After { ended: true, ..After::default() });
        }
    }

    fn go_live(&mut self, id: Uuid, new: &NewSubmission, tail: Tail) -> Arc<SubmissionHandle> {
        let recent = self.recent.bytes();
        let (handle, sender) = SubmissionHandle::new(id, new.tenant.clone(), tail, recent);
        let key = new.idempotency.as_ref().map(|idempotency| (new.tenant.clone(), idempotency.key.clone()));
        if let (Some(key), Some(idempotency)) = (&key, &new.idempotency) {
            self.keys.insert(key.clone(), (id, idempotency.options_fingerprint));
        }
        let NewSubmission { keep_inputs, part_bytes, cache, .. } = *new;
        let live = Live {
            handle: Arc::clone(&handle),
            tail: sender,
            key,
            keep_inputs,
            part_bytes,
            cache,
            contexts: BTreeMap::new(),
            listing_cause: None,
        };
        self.live.insert(id, live);
        handle
    }
}

/// Adds a new seal to a unit, and that the submission is complete with it if it is.
pub(super) fn write_seal(batch_count: u32, complete: bool, writes: &mut Vec<Write>, after: &mut After) {
    writes.push(Write::Seal { batch_count });
    after.sealed = true;
    if complete {
        writes.push(Write::Complete);
        after.ended = true;
    }
}
