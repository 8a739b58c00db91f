//! From an id or a key to a submission: the one place where the tenant is checked (promise 10).

use std::sync::Arc;

use hashmesh::{
    limits,
    queue::v1::OpenSubmission,
    v1::{Opened, Submission, SubmissionState, WaitReason},
};
use hashmesh_runtime::trace;
use uuid::Uuid;

use super::{Shared, convert};
use crate::{
    core::Waits,
    engine::{Command, CreateSubmission, Created, EngineHandle, IncomingBatch, SubmissionHandle},
    error::QueueError,
    shard::Shard,
    store::{self, model},
};

/// How often a key that another call has just used is looked up again.
const KEY_TRIES: u32 = 5;

/// A submission of the caller's tenant.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    /// Unfinished: the engine knows it.
    Live(Arc<SubmissionHandle>),
    /// Completed or cancelled: only the tables know it, and nothing changes any more.
    Finished(Uuid, Box<Submission>),
}

impl Found {
    pub(crate) fn id(&self) -> Uuid {
        match self {
            Self::Live(handle) => handle.id,
            Self::Finished(id, _) => *id,
        }
    }
}

/// True for a state that never changes again.
pub(crate) fn final_state(submission: &Submission) -> bool {
    matches!(submission.state(), SubmissionState::Completed | SubmissionState::Cancelled)
}

impl Shared {
    /// The engine, whatever shards it works on.
    pub(crate) fn engine(&self) -> Result<EngineHandle, QueueError> {
        if let Some(engine) = &*self.current.borrow() {
            return Ok(engine.clone());
        }
        Err(if self.shutdown.begun() { QueueError::Draining } else { QueueError::Recovering })
    }

    /// The engine, if it works on this shard.
    pub(crate) fn engine_of(&self, shard: Shard) -> Result<EngineHandle, QueueError> {
        match self.engine() {
            Ok(engine) if engine.shards().now().contains(shard) => return Ok(engine),
            Err(QueueError::Draining) => return Err(QueueError::Draining),
            _ => {}
        }
        let picture = self.picture.borrow();
        match picture.of(shard).by {
            // About to be taken up, or about to be given up.
            Some(owner) if owner == self.process => Err(QueueError::Recovering),
            Some(_) => Err(QueueError::NotOwner { owner: picture.address(shard).map(str::to_owned) }),
            None => Err(QueueError::NotOwner { owner: None }),
        }
    }

    /// The engine that works on this submission's shard.
    pub(crate) fn engine_for(&self, submission: Uuid) -> Result<EngineHandle, QueueError> {
        self.engine_of(Shard::of(submission))
    }

    /// The tenant's submission with this id.
    pub(super) async fn resolve(&self, tenant: &str, id: &str) -> Result<Found, QueueError> {
        let id = convert::submission_id(id)?;
        if let Some(handle) = self.engine_for(id)?.find(id).await? {
            return if handle.tenant == tenant { Ok(Found::Live(handle)) } else { Err(QueueError::NotFound) };
        }
        // Read after the engine has said that it does not know it: what it let go of before is there.
        let submission = self.stored(tenant, id).await?;
        // Unfinished in the tables and not in memory: it is being read again, or has just gone to another owner.
        if final_state(&submission) {
            Ok(Found::Finished(id, Box::new(submission)))
        } else {
            self.engine_for(id)?;
            Err(QueueError::Recovering)
        }
    }

    /// The tenant's submission with this id as it is in the tables, whoever owns it.
    pub(super) async fn stored(&self, tenant: &str, id: Uuid) -> Result<Submission, QueueError> {
        let (owner, submission) = store::submission(&self.config.database, id).await?.ok_or(QueueError::NotFound)?;
        if owner == tenant { Ok(submission) } else { Err(QueueError::NotFound) }
    }

    /// The same submission, after the engine has let go of it.
    pub(super) async fn resolve_again(&self, found: &Found) -> Result<Found, QueueError> {
        match found {
            Found::Live(handle) => self.resolve(&handle.tenant, &handle.id.to_string()).await,
            Found::Finished(..) => Ok(found.clone()),
        }
    }

    /// A submission as it is committed now.
    pub(super) async fn submission(&self, id: Uuid) -> Result<Submission, QueueError> {
        let (_, mut submission) = store::submission(&self.config.database, id).await?.ok_or(QueueError::NotFound)?;
        self.look(id, &mut submission).await?;
        Ok(submission)
    }

    /// Fills in what only the engine knows.
    pub(super) async fn look(&self, id: Uuid, submission: &mut Submission) -> Result<(), QueueError> {
        if !final_state(submission) {
            let standing = self.engine_for(id)?.ask(|reply| Command::Standing { id, reply }).await?;
            submission.expansion_error = standing.expansion_error;
            submission.set_wait_reason(match standing.waits {
                None => WaitReason::Unspecified,
                Some(Waits::Paused) => WaitReason::Paused,
                Some(Waits::NotBefore) => WaitReason::NotBefore,
                Some(Waits::ForWorker) => WaitReason::WaitingForWorker,
            });
        }
        Ok(())
    }

    /// The submission that `open` asks for, created if need be; `whole` is its only batch. The creation is committed.
    /// True: it was created by this call, `whole` included.
    pub(crate) async fn open(
        &self,
        open: &OpenSubmission,
        retry_of: Option<Uuid>,
        mut whole: Option<IncomingBatch>,
    ) -> Result<(Found, bool), QueueError> {
        if !open.submission_id.is_empty() {
            return Ok((self.resolve(&open.tenant, &open.submission_id).await?, false));
        }
        let new = convert::new_submission(open, retry_of)?;
        let shard = new.idempotency.as_ref().map(|idempotency| Shard::of_key(&new.tenant, &idempotency.key));
        for _ in 0..KEY_TRIES {
            if let Some(found) = self.find_by_key(&new).await? {
                return Ok((found, false));
            }
            let engine = match shard {
                Some(shard) => self.engine_of(shard)?,
                None => self.engine()?,
            };
            let admitted = match whole.take() {
                Some(batch) => {
                    let permit = engine.admission().admit(batch.memory_bytes()).await?;
                    Some((batch, permit))
                }
                None => None,
            };
            // Kept in case that the key turns out to be taken.
            let spare = admitted.as_ref().map(|(batch, _)| batch.again());
            let created =
                engine.create(CreateSubmission { new: new.clone(), whole: admitted, trace: trace::current() }).await?;
            let (handle, is_new) = match created {
                Created::New(handle) => (handle, true),
                Created::Found(handle, fingerprint) => {
                    same_options(&new, fingerprint)?;
                    (handle, false)
                }
            };
            match handle.wait(|tail| tail.created).await {
                Ok(_) => return Ok((Found::Live(handle), is_new)),
                Err(QueueError::DuplicateKey) => whole = spare,
                Err(error) => return Err(error),
            }
        }
        Err(QueueError::DuplicateKey)
    }

    async fn find_by_key(&self, new: &model::NewSubmission) -> Result<Option<Found>, QueueError> {
        let Some(idempotency) = &new.idempotency else { return Ok(None) };
        let shard = Shard::of_key(&new.tenant, &idempotency.key);
        let Some((id, fingerprint)) = self.keys.find(shard, &new.tenant, &idempotency.key).await? else {
            return Ok(None);
        };
        same_options(new, fingerprint)?;
        self.resolve(&new.tenant, &id.to_string()).await.map(Some)
    }

    /// The first answer on a submission's stream.
    pub(super) async fn opened(&self, found: &Found) -> Result<Opened, QueueError> {
        let submission = match found {
            Found::Live(handle) => self.submission(handle.id).await?,
            Found::Finished(_, submission) => (**submission).clone(),
        };
        Ok(Opened {
            submission_id: submission.submission_id,
            next_sequence: submission.next_sequence,
            accepted_tasks: submission.accepted_tasks,
            limits: Some(limits::announced()),
            options: submission.options,
            state: submission.state,
        })
    }
}

fn same_options(new: &model::NewSubmission, fingerprint: [u8; 32]) -> Result<(), QueueError> {
    let same = new.idempotency.as_ref().is_some_and(|idempotency| idempotency.options_fingerprint == fingerprint);
    if same { Ok(()) } else { Err(QueueError::IdempotencyConflict) }
}
