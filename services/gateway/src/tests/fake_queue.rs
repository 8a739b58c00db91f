//! A Queue whose answers the test gives.

use std::sync::{Arc, Mutex};

use hashmesh::queue::v1::{queue_service_server::QueueService, *};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, metadata::MetadataMap};

type Answers<T> = ReceiverStream<Result<T, Status>>;

/// One stream as the Queue sees it.
pub(super) struct WriteStream {
    pub(super) metadata: MetadataMap,
    pub(super) inbound: Streaming<WriteSubmissionRequest>,
    pub(super) outbound: mpsc::Sender<Result<WriteSubmissionResponse, Status>>,
}

/// Which calls were made, and what the next ones are answered with.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) calls: Vec<&'static str>,
    /// By call; each is used once.
    pub(super) refusals: Vec<(&'static str, Status)>,
    pub(super) page: ListResultsResponse,
    pub(super) results: Vec<Result<StreamResultsResponse, Status>>,
    /// What each watcher is told, and how often one was told.
    pub(super) states: Vec<hashmesh::v1::Submission>,
    pub(super) states_sent: watch::Sender<usize>,
    pub(super) batch: Option<ValidatedBatch>,
    /// Who owns the shards. Not set: as a Queue of a version that shares nothing.
    pub(super) pictures: Option<watch::Receiver<WatchShardsResponse>>,
    /// What `get_queue_stats` and `get_controls` answer with.
    pub(super) stats: GetQueueStatsResponse,
    pub(super) controls: hashmesh::v1::TenantControls,
    /// What `submit_batch` answers with; not set: an unfinished submission.
    pub(super) stored: Option<SubmitBatchResponse>,
}

#[derive(Clone, Debug)]
pub(super) struct FakeQueue {
    pub(super) streams: mpsc::Sender<WriteStream>,
    pub(super) script: Arc<Mutex<Script>>,
}

impl std::fmt::Debug for WriteStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WriteStream")
    }
}

impl FakeQueue {
    /// Notes the call; refuses it if the script says so.
    fn called(&self, call: &'static str) -> Result<std::sync::MutexGuard<'_, Script>, Status> {
        let mut script = self.script.lock().unwrap();
        script.calls.push(call);
        match script.refusals.iter().position(|(refused, _)| *refused == call) {
            Some(place) => Err(script.refusals.remove(place).1),
            None => Ok(script),
        }
    }
}

#[tonic::async_trait]
impl QueueService for FakeQueue {
    type WriteSubmissionStream = Answers<WriteSubmissionResponse>;
    type WatchSubmissionStream = Answers<WatchSubmissionResponse>;
    type StreamResultsStream = Answers<StreamResultsResponse>;
    type LeaseTasksStream = Answers<LeaseTasksResponse>;
    type WatchShardsStream = Answers<WatchShardsResponse>;

    async fn write_submission(
        &self,
        request: Request<Streaming<WriteSubmissionRequest>>,
    ) -> Result<Response<Self::WriteSubmissionStream>, Status> {
        drop(self.called("write")?);
        let (outbound, answers) = mpsc::channel(4);
        let metadata = request.metadata().clone();
        let stream = WriteStream { metadata, inbound: request.into_inner(), outbound };
        self.streams.send(stream).await.map_err(|_| Status::internal("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn append_batch(
        &self,
        request: Request<AppendBatchRequest>,
    ) -> Result<Response<AppendBatchResponse>, Status> {
        self.called("append")?.batch = request.into_inner().batch;
        Ok(Response::new(AppendBatchResponse { through_sequence: 0 }))
    }

    async fn create_submission(
        &self,
        _: Request<CreateSubmissionRequest>,
    ) -> Result<Response<CreateSubmissionResponse>, Status> {
        drop(self.called("create")?);
        Ok(Response::new(CreateSubmissionResponse::default()))
    }

    async fn submit_batch(
        &self,
        request: Request<SubmitBatchRequest>,
    ) -> Result<Response<SubmitBatchResponse>, Status> {
        let mut script = self.called("submit_batch")?;
        script.batch = request.into_inner().batch;
        if let Some(stored) = script.stored.take() {
            return Ok(Response::new(stored));
        }
        let submission = hashmesh::v1::Submission { submission_id: super::mesh::ID.to_owned(), ..Default::default() };
        Ok(Response::new(SubmitBatchResponse { submission: Some(submission), results: None }))
    }

    async fn list_results(&self, _: Request<ListResultsRequest>) -> Result<Response<ListResultsResponse>, Status> {
        Ok(Response::new(self.called("list_results")?.page.clone()))
    }

    async fn stream_results(
        &self,
        _: Request<StreamResultsRequest>,
    ) -> Result<Response<Self::StreamResultsStream>, Status> {
        let frames = std::mem::take(&mut self.called("stream_results")?.results);
        let (outbound, answers) = mpsc::channel(frames.len().max(1));
        for frame in frames {
            outbound.try_send(frame).unwrap();
        }
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn get_queue_stats(
        &self,
        _: Request<GetQueueStatsRequest>,
    ) -> Result<Response<GetQueueStatsResponse>, Status> {
        Ok(Response::new(self.script.lock().unwrap().stats.clone()))
    }

    async fn seal_submission(
        &self,
        _: Request<SealSubmissionRequest>,
    ) -> Result<Response<SealSubmissionResponse>, Status> {
        unreachable!("not scripted")
    }

    async fn get_submission(
        &self,
        _: Request<GetSubmissionRequest>,
    ) -> Result<Response<GetSubmissionResponse>, Status> {
        drop(self.called("get")?);
        Ok(Response::new(GetSubmissionResponse::default()))
    }

    async fn list_submissions(
        &self,
        _: Request<ListSubmissionsRequest>,
    ) -> Result<Response<ListSubmissionsResponse>, Status> {
        unreachable!("not scripted")
    }

    async fn watch_submission(
        &self,
        _: Request<WatchSubmissionRequest>,
    ) -> Result<Response<Self::WatchSubmissionStream>, Status> {
        let states = self.called("watch")?.states.clone();
        let (outbound, answers) = mpsc::channel(1);
        let script = Arc::clone(&self.script);
        tokio::spawn(async move {
            for submission in states {
                let frame = Some(watch_submission_response::Frame::Submission(submission));
                outbound.send(Ok(WatchSubmissionResponse { frame })).await.unwrap();
                script.lock().unwrap().states_sent.send_modify(|sent| *sent += 1);
            }
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn cancel_submission(
        &self,
        _: Request<CancelSubmissionRequest>,
    ) -> Result<Response<CancelSubmissionResponse>, Status> {
        unreachable!("not scripted")
    }

    async fn set_controls(&self, _: Request<SetControlsRequest>) -> Result<Response<SetControlsResponse>, Status> {
        unreachable!("not scripted")
    }

    async fn set_worker_draining(
        &self,
        _: Request<SetWorkerDrainingRequest>,
    ) -> Result<Response<SetWorkerDrainingResponse>, Status> {
        unreachable!("not scripted")
    }

    async fn get_controls(&self, _: Request<GetControlsRequest>) -> Result<Response<GetControlsResponse>, Status> {
        Ok(Response::new(GetControlsResponse { controls: Some(self.called("get_controls")?.controls.clone()) }))
    }

    async fn retry_tasks(&self, _: Request<RetryTasksRequest>) -> Result<Response<RetryTasksResponse>, Status> {
        unreachable!("not scripted")
    }

    async fn lease_tasks(
        &self,
        _: Request<Streaming<LeaseTasksRequest>>,
    ) -> Result<Response<Self::LeaseTasksStream>, Status> {
        unreachable!("not scripted")
    }

    async fn watch_shards(&self, _: Request<WatchShardsRequest>) -> Result<Response<Self::WatchShardsStream>, Status> {
        let Some(mut pictures) = self.script.lock().unwrap().pictures.clone() else {
            // As a Queue of a version that shares nothing.
            return Err(Status::unimplemented("not scripted"));
        };
        let (outbound, answers) = mpsc::channel(1);
        tokio::spawn(async move {
            loop {
                let picture = pictures.borrow_and_update().clone();
                if outbound.send(Ok(picture)).await.is_err() || pictures.changed().await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}
