//! What a Gateway counts: where the numbers of other modules are watched, and what is counted in more places than one.

use hashmesh::queue::v1::ValidatedBatch;
use hashmesh_middleware::concurrency::Concurrency;
use hashmesh_runtime::metrics::{Watch, catalogue::gateway as metrics};

use crate::{
    admission::{Admission, StreamKind},
    digest::Digests,
};

/// Has what these know exported as long as it is kept.
pub(crate) fn watch(admission: &Admission, digests: &Digests, concurrency: &Concurrency) -> Vec<Watch> {
    let mut watches: Vec<_> = StreamKind::ALL
        .into_iter()
        .map(|kind| {
            let admission = admission.clone();
            metrics::STREAMS.watch(&[kind.name()], move || number(admission.open(kind)))
        })
        .collect();
    let (taken, all, digests) = (concurrency.clone(), concurrency.clone(), digests.clone());
    watches.push(metrics::PLACES.watch(&["taken"], move || number(taken.usage().0)));
    watches.push(metrics::PLACES.watch(&["all"], move || number(all.usage().1)));
    #[allow(clippy::cast_precision_loss)] // never that many
    watches.push(metrics::COALESCED_DIGESTS.watch(&[], move || digests.joined() as f64));
    watches
}

/// A batch goes to the Queue.
pub(crate) fn passed(batch: &ValidatedBatch) {
    metrics::BATCHES.add(1, &["passed"]);
    metrics::TASKS.add(batch.task_count.into(), &[]);
    metrics::TASK_BYTES.add(batch.byte_count.into(), &[]);
}

/// A batch does not.
pub(crate) fn refused() {
    metrics::BATCHES.add(1, &["refused"]);
}

/// So many outcomes were handed to the connection of a client.
pub(crate) fn sent(outcomes: usize) {
    metrics::OUTCOMES.add(outcomes as u64, &[]);
}

#[allow(clippy::cast_precision_loss)] // never that many
fn number(count: usize) -> f64 {
    count as f64
}
