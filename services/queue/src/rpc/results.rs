//! Outcomes by position: from the engine's memory where it still has them, else from Postgres. Both are asked by
//! position, so there is no seam between the past and the present that could lose or repeat one (promise 5).

use std::sync::Arc;

use hashmesh::{
    limits,
    queue::v1::{
        ListResultsRequest, ListResultsResponse, StreamResultsRequest, StreamResultsResponse,
        stream_results_response::Frame,
    },
    v1::{Completed, Draining, OutcomeStatus, PackedOutcomes, Results, Submission},
};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use uuid::Uuid;

use super::{
    Frames, MOVES, OUTGOING, STOPS, Shared,
    resolve::{Found, final_state},
};
use crate::{
    engine::{Tail, weight},
    error::QueueError,
    measures::StreamKind,
    mutant::{self, Mutant},
    store::{self, ResultsLimit, StoreError, model::TracedOutcomes},
};

/// Positions that one filtered page looks at, at most.
const PAGE_SCAN: u64 = 1_000_000;

/// Of a frame: what `Results.traceparents` promises. They have two kilobytes, which the limit of a message leaves room for.
const MOST_TRACEPARENTS: usize = 32;

/// As much as fits a frame.
const FRAME_LIMIT: ResultsLimit = ResultsLimit { tasks: u64::MAX, bytes: limits::MAX_RESULTS_FRAME_BYTES };

/// What a reader of outcomes gets.
#[derive(Debug)]
pub(super) enum ResultsFrame {
    Results(Results),
    /// The submission has ended and every outcome was sent.
    Completed(Box<Submission>),
    Draining(Draining),
}

/// Reads a submission's outcomes in order.
#[derive(Debug)]
pub(super) struct Reader {
    shared: Arc<Shared>,
    found: Found,
    /// Everything up to here has been read.
    position: u64,
    statuses: Vec<OutcomeStatus>,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, found: Found, after_position: u64, statuses: Vec<OutcomeStatus>) -> Self {
        let skipped = u64::from(after_position > 0 && mutant::active(Mutant::ResumeOffByOne));
        Self { shared, found, position: after_position + skipped, statuses }
    }

    /// Committed outcomes behind the position, about a frame of them; empty at the present, which is not before `through`.
    async fn next(&mut self, through: u64) -> Result<Vec<TracedOutcomes>, QueueError> {
        let recent = match &self.found {
            Found::Live(handle) => handle.recent_after(self.position, limits::MAX_RESULTS_FRAME_BYTES),
            Found::Finished(..) => None,
        };
        let rows = match recent {
            // Without the names of its tasks a batch's outcomes are not kept: that none is there says nothing.
            Some(rows) if !rows.is_empty() => rows,
            // The tables are ahead of what followers were told by a moment: one that reads up to the present must see
            // what other calls were answered from them.
            _ => self.shared.stored_results(self.found.id(), self.position, through, FRAME_LIMIT).await?,
        };
        if let Some(last) = rows.last() {
            self.position = last.outcomes.through_position();
        }
        Ok(rows)
    }

    /// The rows that match the filter, in frames that are not too large.
    fn frames(&self, rows: Vec<TracedOutcomes>) -> Vec<Results> {
        let mut parts = Vec::new();
        for TracedOutcomes { outcomes, trace_context } in rows {
            let matching = if self.statuses.is_empty() { vec![outcomes] } else { outcomes.retain(&self.statuses) };
            let cut = matching.into_iter().flat_map(cut);
            parts.extend(cut.map(|outcomes| TracedOutcomes { outcomes, trace_context }));
        }
        let mut frames: Vec<Results> = Vec::new();
        let mut bytes = 0;
        for part in parts {
            let size = weight(&part.outcomes);
            match frames.last_mut() {
                Some(frame) if bytes + size <= limits::MAX_RESULTS_FRAME_BYTES => {
                    bytes += size;
                    add(frame, part);
                }
                _ => {
                    bytes = size;
                    let mut frame = Results::default();
                    add(&mut frame, part);
                    frames.push(frame);
                }
            }
        }
        if let Some(last) = frames.last_mut() {
            // What follows it did not match the filter.
            last.through_position = self.position;
        }
        frames
    }

    /// Sends outcomes as `wrap`ped frames until the present or, with `follow`, until the submission has ended. Ends
    /// quietly when nobody reads any more.
    pub(super) async fn run<T>(
        mut self,
        follow: bool,
        out: &mpsc::Sender<Result<T, Status>>,
        wrap: fn(ResultsFrame) -> T,
    ) -> Result<(), QueueError> {
        let mut tail = match &self.found {
            Found::Live(handle) => Some(handle.tail()),
            Found::Finished(..) => None,
        };
        loop {
            let seen = tail.as_mut().map(|tail| *tail.borrow_and_update());
            let through = match (&self.found, seen) {
                (Found::Live(_), Some(seen)) => seen.position,
                (Found::Live(_), None) => 0,
                (Found::Finished(_, submission), _) => submission.recorded_tasks,
            };
            loop {
                if follow && seen.is_some() && self.position >= through {
                    break;
                }
                let rows = self.next(through).await?;
                if rows.is_empty() {
                    break;
                }
                for frame in self.frames(rows) {
                    if out.send(Ok(wrap(ResultsFrame::Results(frame)))).await.is_err() {
                        return Ok(());
                    }
                }
            }
            if seen.is_none_or(|seen| seen.ended) {
                let summary = match &self.found {
                    Found::Live(handle) => Box::new(self.shared.submission(handle.id).await?),
                    Found::Finished(_, submission) => submission.clone(),
                };
                let _ = out.send(Ok(wrap(ResultsFrame::Completed(summary)))).await;
                return Ok(());
            }
            if !follow {
                return Ok(());
            }
            if let Some(reason) = self.wait(tail.as_mut()).await? {
                let reason = reason.to_owned();
                let _ = out.send(Ok(wrap(ResultsFrame::Draining(Draining { reason })))).await;
                return Ok(());
            }
            if out.is_closed() {
                return Ok(());
            }
        }
    }

    /// Waits for more outcomes. If they will come from another process: why.
    async fn wait(&self, tail: Option<&mut watch::Receiver<Tail>>) -> Result<Option<&'static str>, QueueError> {
        let (Some(tail), Found::Live(handle)) = (tail, &self.found) else { return Ok(None) };
        tokio::select! {
            changed = tail.changed() => match changed.map_err(|_| handle.failure()) {
                Ok(()) => Ok(None),
                Err(QueueError::NotOwner { .. }) => Ok(Some(MOVES)),
                Err(error) => Err(error),
            },
            () = self.shared.shutdown.wait() => Ok(Some(STOPS)),
        }
    }
}

/// Adds outcomes to a frame, and where they come from.
pub(super) fn add(frame: &mut Results, TracedOutcomes { outcomes, trace_context }: TracedOutcomes) {
    frame.through_position = outcomes.through_position();
    frame.columns.push(outcomes);
    let Some(context) = trace_context.filter(|_| frame.traceparents.len() < MOST_TRACEPARENTS) else { return };
    let traceparent = context.to_string();
    if !frame.traceparents.contains(&traceparent) {
        frame.traceparents.push(traceparent);
    }
}

/// Cuts outcomes so that each part fits a frame; a single outcome always does.
fn cut(outcomes: PackedOutcomes) -> Vec<PackedOutcomes> {
    outcomes.into_pieces(limits::MAX_RESULTS_FRAME_BYTES, false)
}

fn statuses(numbers: &[i32]) -> Vec<OutcomeStatus> {
    numbers.iter().filter_map(|number| OutcomeStatus::try_from(*number).ok()).collect()
}

/// A submission that has ended by the tables has ended for who reads up to the present, even if its end is still on the way
/// to those who follow.
async fn present(shared: &Shared, found: Found) -> Result<Found, QueueError> {
    let Found::Live(handle) = &found else { return Ok(found) };
    let submission = shared.submission(handle.id).await?;
    Ok(if final_state(&submission) { Found::Finished(handle.id, Box::new(submission)) } else { found })
}

/// Serves `StreamResults`.
pub(super) async fn serve(
    shared: Arc<Shared>,
    request: StreamResultsRequest,
) -> Result<Frames<StreamResultsResponse>, QueueError> {
    let found = shared.resolve(&request.tenant, &request.submission_id).await?;
    let found = if request.follow { found } else { present(&shared, found).await? };
    let open = shared.measures.open_stream(StreamKind::Results);
    let reader = Reader::new(shared, found, request.after_position, statuses(&request.statuses));
    let (out, frames) = mpsc::channel(OUTGOING);
    tokio::spawn(async move {
        let (_open, closed) = (open, out.clone());
        tokio::select! {
            result = reader.run(request.follow, &out, wrap) => if let Err(error) = result {
                let _ = out.send(Err(error.into())).await;
            },
            () = closed.closed() => {}
        }
    });
    Ok(Box::pin(ReceiverStream::new(frames)))
}

fn wrap(frame: ResultsFrame) -> StreamResultsResponse {
    let frame = match frame {
        ResultsFrame::Results(results) => Frame::Results(results),
        ResultsFrame::Completed(summary) => Frame::Completed(Completed { summary: Some(*summary) }),
        ResultsFrame::Draining(draining) => Frame::Draining(draining),
    };
    StreamResultsResponse { frame: Some(frame) }
}

impl Shared {
    /// Outcomes as they are stored, from a replica or the primary. None are there only if they are committed up to `through`
    /// at most, and that is not behind the position.
    async fn stored_results(
        &self,
        id: Uuid,
        position: u64,
        through: u64,
        limit: ResultsLimit,
    ) -> Result<Vec<TracedOutcomes>, QueueError> {
        let read = |source| async move { store::results(&source, id, position, limit).await };
        let rows = self.reads.read(read).await?;
        if !rows.is_empty() || position >= through {
            return Ok(rows);
        }
        // A replica may not have them yet.
        let rows = store::results(&self.config.database, id, position, limit).await?;
        if rows.is_empty() {
            // Deleted meanwhile, with all that was of it.
            store::submission(&self.config.database, id).await?.ok_or(QueueError::NotFound)?;
            return Err(StoreError::damaged(id, format!("nothing follows position {position} of {through}")).into());
        }
        Ok(rows)
    }

    pub(super) async fn list_results(&self, request: ListResultsRequest) -> Result<ListResultsResponse, QueueError> {
        let found = self.resolve(&request.tenant, &request.submission_id).await?;
        // Read before the outcomes: if it says that the submission has ended, nothing can follow what is read after it.
        let submission = match &found {
            Found::Live(handle) => self.submission(handle.id).await?,
            Found::Finished(_, submission) => (**submission).clone(),
        };
        let wanted = statuses(&request.statuses);
        let page_size = u64::from(request.page_size.clamp(1, limits::MAX_RESULTS_PAGE));
        let mut page =
            ListResultsResponse { outcomes: Vec::new(), next_after_position: request.after_position, end: false };
        let (mut count, mut bytes) = (0, 0);
        while count < page_size
            && bytes < limits::MAX_RESULTS_FRAME_BYTES
            && page.next_after_position - request.after_position < PAGE_SCAN
        {
            let tasks = if wanted.is_empty() { page_size - count } else { u64::MAX };
            let limit = ResultsLimit { tasks, bytes: limits::MAX_RESULTS_FRAME_BYTES - bytes };
            let rows = self.stored_results(found.id(), page.next_after_position, 0, limit).await?;
            let rows: Vec<PackedOutcomes> = rows.into_iter().map(|row| row.outcomes).collect();
            let Some(last) = rows.last().map(PackedOutcomes::through_position) else { break };
            let kept = rows.into_iter().flat_map(|row| if wanted.is_empty() { vec![row] } else { row.retain(&wanted) });
            let parts: Vec<PackedOutcomes> = kept.flat_map(cut).collect();
            page.next_after_position = last;
            for part in parts {
                let room = page_size - count;
                let fits = bytes == 0 || bytes + weight(&part) <= limits::MAX_RESULTS_FRAME_BYTES;
                if room == 0 || !fits {
                    page.next_after_position = part.first_position - 1;
                    return Ok(page);
                }
                let part = if u64::from(part.task_count) > room {
                    part.slice(0, usize::try_from(room).unwrap_or(usize::MAX))
                } else {
                    part
                };
                let cut_short = part.through_position() < last && u64::from(part.task_count) == room;
                count += u64::from(part.task_count);
                bytes += weight(&part);
                let through = part.through_position();
                page.outcomes.push(part);
                if cut_short {
                    page.next_after_position = through;
                    break;
                }
            }
        }
        page.end = final_state(&submission) && page.next_after_position >= submission.recorded_tasks;
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use hashmesh_runtime::trace::TraceContext;

    use super::*;

    #[test]
    fn a_frame_names_each_trace_once_and_not_more_than_it_promises() {
        let mut frame = Results::default();
        for number in 0..100_u64 {
            let traceparent = format!("00-0af7651916cd43dd8448eb211c80319c-{:016x}-01", 1 + number / 2);
            let outcomes = PackedOutcomes { first_position: 1 + number, task_count: 1, ..PackedOutcomes::default() };
            add(&mut frame, TracedOutcomes { outcomes, trace_context: TraceContext::parse(&traceparent) });
        }
        assert_eq!((frame.columns.len(), frame.through_position), (100, 100));
        assert_eq!(frame.traceparents.len(), MOST_TRACEPARENTS);
        assert!(frame.traceparents.is_sorted_by(|one, next| one < next), "each once");
    }
}
