//! The part of the model in which processes outlive their owner and claim what they held.

use super::*;

impl World {
    /// The owner goes; its workers go on, unless they go with it.
    pub(super) fn note_claims(&mut self, crash: bool) {
        self.claims.clear();
        let leases = if crash { BTreeMap::new() } else { self.core.leases.clone() };
        for lease in leases.into_values() {
            let Some(worker) = self.core.workers.get(&lease.worker) else { continue };
            let claim = |run: TaskRun| Claim {
                submission: lease.submission,
                sequence: lease.sequence,
                run,
                attempt: lease.attempt,
                fingerprint: self.known[&lease.submission].batches[lease.sequence as usize].fingerprint,
                cost_bytes: 1,
            };
            // More than is left of it: what is recorded was part of it too.
            let (Some(first), Some(last)) = (lease.unresolved.iter().next(), lease.unresolved.iter().last()) else {
                continue;
            };
            let claims = self.claims.entry(worker.info.session).or_default();
            claims.push(claim(TaskRun::new(first.first, last.end() - first.first)));
        }
    }

    /// A process that comes back claims what it held. Promise 3: it gets only what is nobody else's and has no outcome, which
    /// [`World::check`] sees, under a lease of its own.
    pub(super) fn claim(&mut self, worker: WorkerId) -> Result<(), TestCaseError> {
        let session = self.core.workers[&worker].info.session;
        let claims = self.claims.remove(&session).unwrap_or_default();
        let adopted = self.core.adopt(self.now, worker, &claims);
        for adopted in adopted {
            let claim = &claims[adopted.claim];
            prop_assert!(!adopted.unresolved.is_empty());
            for run in adopted.unresolved.iter() {
                prop_assert!(claim.run.first <= run.first && run.end() <= claim.run.end());
                self.granted.push(Grant {
                    worker,
                    lease: adopted.lease,
                    submission: claim.submission,
                    sequence: claim.sequence,
                    run,
                    attempt: claim.attempt,
                    cost_bytes: claim.cost_bytes,
                    payload_bytes: 0,
                    priority: 0,
                    flow: 0,
                    alone: false,
                });
            }
        }
        Ok(())
    }
}
