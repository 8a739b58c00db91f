//! From an id or a key to a submission: the one place where the tenant is checked (promise 10).

use std::sync::Arc;

use hashmesh::{
    limits,
    queue::v1::OpenSubmission,
    v1::{Opened, Submission, SubmissionState, WaitReason},
};
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
pub(super) fn final_state(submission: &Submission) -> bool {
    matches!(submission.state(), SubmissionState::Completed | SubmissionState::Cancelled)
}

impl Shared {
    /// The engine, if this process owns the queue now.
    pub(crate) async fn engine(&self) -> Result<EngineHandle, QueueError> {
        if let Some(engine) = &*self.current.borrow() {
            return Ok(engine.clone());
        }
        if self.shutdown.begun() {
            return Err(QueueError::Draining);
        }
        match store::owner_address(&self.config.database).await {
            Ok(Some(owner)) if owner != self.config.address => Err(QueueError::NotOwner { owner: Some(owner) }),
            Ok(_) => Err(QueueError::Recovering),
            Err(_unreachable) => Err(QueueError::Database),
        }
    }

    /// The tenant's submission with this id.
    pub(super) async fn resolve(&self, tenant: &str, id: &str) -> Result<Found, QueueError> {
        let id = convert::submission_id(id)?;
        if let Some(handle) = self.engine().await?.find(id).await? {
            return if handle.tenant == tenant { Ok(Found::Live(handle)) } else { Err(QueueError::NotFound) };
        }
        // Read after the engine has said that it does not know it: what it let go of before is there.
        let (owner, submission) = store::submission(&self.config.database, id).await?.ok_or(QueueError::NotFound)?;
        if owner != tenant {
            return Err(QueueError::NotFound);
        }
        // Unfinished in the tables and not in memory: it is being read again.
        if final_state(&submission) {
            Ok(Found::Finished(id, Box::new(submission)))
        } else {
            Err(QueueError::Recovering)
        }
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
            let standing = self.engine().await?.ask(|reply| Command::Standing { id, reply }).await?;
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
        for _ in 0..KEY_TRIES {
            if let Some(found) = self.find_by_key(&new).await? {
                return Ok((found, false));
            }
            let engine = self.engine().await?;
            let admitted = match whole.take() {
                Some(batch) => {
                    let permit = engine.admission().admit(batch.memory_bytes()).await?;
                    Some((batch, permit))
                }
                None => None,
            };
            // Kept in case that the key turns out to be taken.
            let spare = admitted.as_ref().map(|(batch, _)| batch.again());
            let created = engine.create(CreateSubmission { new: new.clone(), whole: admitted }).await?;
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
