//! The public API by its generated types alone: what any client could send, sensible or not.

use std::{
    collections::VecDeque,
    ops::{Deref, DerefMut},
    time::Duration,
};

use bytes::Bytes;
use hashmesh::{
    error::{Reason, reason},
    gateway::v1::{
        Batch, GetSubmissionRequest, OpenSubmission, StreamResultsRequest, StreamResultsResponse, SubmitBatchRequest,
        SubmitTasksRequest, SubmitTasksResponse, batch, gateway_service_client::GatewayServiceClient,
        stream_results_response, submit_batch_request, submit_tasks_request, submit_tasks_response,
    },
    v1::{
        Opened, Outcome, PackedTasks, Pong, Rejected, ResultShape, Seal, Submission, SubmissionOptions,
        SubmissionState, Task, TaskRows, task,
    },
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Response, Status, Streaming, transport::Channel};
use tonic_types::StatusExt as _;

use super::wait::{PATIENCE, Patience, soon, until, within};

/// Without a frame that says anything: pings come as long as there is a stream.
const LONGEST: Duration = Duration::from_secs(2 * PATIENCE.as_secs());

/// Between two pings of a connection, and how long an answer is waited for: less than [`PATIENCE`] in all.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

pub(crate) use submit_tasks_response::Frame;

/// A client of a Gateway, on a connection of its own.
#[derive(Clone, Debug)]
pub(crate) struct Gateway(GatewayServiceClient<Channel>);

impl Deref for Gateway {
    type Target = GatewayServiceClient<Channel>;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Gateway {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl Gateway {
    pub(crate) async fn connect(server: &str) -> Self {
        let endpoint = Channel::from_shared(server.to_owned()).expect("a URL");
        let channel = endpoint.connect().await.unwrap_or_else(|error| panic!("{server}: {error}"));
        Self::over(channel)
    }

    /// The same for servers that may be down for a while: one of them, the one at this place first.
    pub(crate) async fn connect_patiently(servers: &[String], place: usize) -> Self {
        let patience = Patience::new("a Gateway to answer", PATIENCE);
        let mut servers = servers.iter().cycle().skip(place % servers.len());
        loop {
            let server = servers.next().expect("there is one").clone();
            // As clients should: a connection that says nothing any more is given up, whoever lost it.
            let endpoint = Channel::from_shared(server).expect("a URL");
            let endpoint = endpoint.http2_keep_alive_interval(KEEP_ALIVE).keep_alive_timeout(KEEP_ALIVE);
            if let Ok(channel) = endpoint.connect().await {
                return Self::over(channel);
            }
            patience.pause().await;
        }
    }

    fn over(channel: Channel) -> Self {
        Self(GatewayServiceClient::new(channel).max_decoding_message_size(64 * 1024 * 1024))
    }

    /// Opens a stream; nothing is sent on it yet.
    pub(crate) fn stream(&self) -> SubmitStream {
        let (sender, receiver) = mpsc::channel(1);
        let mut client = self.0.clone();
        // The server need not answer, not even with headers, before the first frame.
        let call = async move { client.submit_tasks(ReceiverStream::new(receiver)).await };
        SubmitStream {
            sender: Some(sender),
            answers: Answers::Awaited(AbortOnDropHandle::new(tokio::spawn(call))),
            early: VecDeque::new(),
        }
    }

    /// Opens a stream and a submission on it.
    pub(crate) async fn open(&self, open: OpenSubmission) -> Result<(SubmitStream, Opened), Status> {
        let mut stream = self.stream();
        stream.send(submit_tasks_request::Frame::Open(open)).await;
        match stream.next().await? {
            Some(Frame::Opened(opened)) => Ok((stream, opened)),
            other => panic!("wanted opened, got {other:?}"),
        }
    }

    /// Opens a new submission with the default options.
    pub(crate) async fn open_new(&self) -> (SubmitStream, Opened) {
        self.open(OpenSubmission::default()).await.expect("a new submission opens")
    }

    pub(crate) async fn submission(&mut self, submission_id: &str) -> Submission {
        let request = GetSubmissionRequest { submission_id: submission_id.to_owned() };
        let answer = soon("GetSubmission", self.0.get_submission(request)).await.expect("it exists");
        answer.into_inner().submission.expect("the answer has it")
    }

    /// Waits until a submission is in a state.
    pub(crate) async fn reaches(&mut self, submission_id: &str, state: SubmissionState) -> Submission {
        let what = format!("{submission_id} to be {}", state.name());
        let mut gateway = self.clone();
        until(&what, PATIENCE, async || {
            let submission = gateway.submission(submission_id).await;
            (submission.state() == state).then_some(submission)
        })
        .await
    }

    /// Every outcome after a position, as rows, waited for until the submission has ended.
    /// The outcomes of these tasks, all of one batch.
    pub(crate) async fn outcomes_of(&mut self, rows: TaskRows, options: SubmissionOptions) -> Vec<Outcome> {
        let tasks = Some(submit_batch_request::Tasks::Rows(rows));
        let request = SubmitBatchRequest { options: Some(options), tasks, wait: true, ..SubmitBatchRequest::default() };
        let answer = self.submit_batch(request).await.expect("it is taken").into_inner();
        let id = answer.submission.expect("it is there").submission_id;
        self.reaches(&id, SubmissionState::Completed).await;
        self.outcomes_after(&id, 0).await
    }

    pub(crate) async fn outcomes_after(&mut self, submission_id: &str, after_position: u64) -> Vec<Outcome> {
        let request = StreamResultsRequest {
            submission_id: submission_id.to_owned(),
            after_position,
            follow: true,
            result_shape: ResultShape::Rows as i32,
            ..StreamResultsRequest::default()
        };
        let (frames, outcomes) = self.results(request).await.expect("results are streamed");
        assert!(matches!(frames.last(), Some(stream_results_response::Frame::Completed(_))), "no completed at the end");
        outcomes
    }

    /// Every frame of a result stream but pings, and the rows in them.
    pub(crate) async fn results(
        &mut self,
        request: StreamResultsRequest,
    ) -> Result<(Vec<stream_results_response::Frame>, Vec<Outcome>), Status> {
        let mut stream = soon("StreamResults", self.0.stream_results(request)).await?.into_inner();
        let (mut frames, mut outcomes) = (Vec::new(), Vec::new());
        while let Some(frame) = within(LONGEST, "results", next_results(&mut stream)).await? {
            if let stream_results_response::Frame::Results(results) = &frame {
                outcomes.extend_from_slice(&results.rows);
            }
            frames.push(frame);
        }
        Ok((frames, outcomes))
    }
}

/// The next frame but pings.
async fn next_results(
    stream: &mut Streaming<StreamResultsResponse>,
) -> Result<Option<stream_results_response::Frame>, Status> {
    while let Some(StreamResultsResponse { frame }) = stream.message().await? {
        match frame.expect("a frame has something in it") {
            stream_results_response::Frame::Ping(_) => {}
            frame => return Ok(Some(frame)),
        }
    }
    Ok(None)
}

/// A `SubmitTasks` stream.
#[derive(Debug)]
pub(crate) struct SubmitStream {
    sender: Option<mpsc::Sender<SubmitTasksRequest>>,
    answers: Answers,
    /// Outcomes that came before the answer that was waited for: they are on their own way, and may overtake it.
    early: VecDeque<Frame>,
}

#[derive(Debug)]
enum Answers {
    Awaited(AbortOnDropHandle<Result<Response<Streaming<SubmitTasksResponse>>, Status>>),
    Begun(Box<Streaming<SubmitTasksResponse>>),
}

impl SubmitStream {
    /// Sends a frame. That the server has closed the stream already shows in what it answers.
    pub(crate) async fn send(&mut self, frame: submit_tasks_request::Frame) {
        if let Some(sender) = &self.sender {
            let sending = sender.send(SubmitTasksRequest { frame: Some(frame) });
            let _ = soon("the stream to take a frame", sending).await;
        }
    }

    pub(crate) async fn batch(&mut self, sequence: u32, tasks: batch::Tasks) {
        self.send(submit_tasks_request::Frame::Batch(Batch { sequence, tasks: Some(tasks), ..Batch::default() })).await;
    }

    pub(crate) async fn seal(&mut self, batch_count: u32) {
        self.send(submit_tasks_request::Frame::Seal(Seal { batch_count })).await;
    }

    /// Half-closes.
    pub(crate) fn finish(&mut self) {
        self.sender = None;
    }

    /// The next frame; pings are answered and left out.
    pub(crate) async fn next(&mut self) -> Result<Option<Frame>, Status> {
        if let Some(early) = self.early.pop_front() {
            return Ok(Some(early));
        }
        let next = async {
            loop {
                match self.next_unanswered().await? {
                    Some(Frame::Ping(ping)) => {
                        self.send(submit_tasks_request::Frame::Pong(Pong { number: ping.number })).await;
                    }
                    frame => return Ok(frame),
                }
            }
        };
        within(LONGEST, "a frame that is no ping", next).await
    }

    /// The next frame but pings, which are not answered.
    pub(crate) async fn next_in_silence(&mut self) -> Result<Option<Frame>, Status> {
        let next = async {
            loop {
                match self.next_unanswered().await? {
                    Some(Frame::Ping(_)) => {}
                    frame => return Ok(frame),
                }
            }
        };
        within(LONGEST, "a frame that is no ping", next).await
    }

    /// The next frame, whatever it is.
    pub(crate) async fn next_unanswered(&mut self) -> Result<Option<Frame>, Status> {
        loop {
            let answers = match &mut self.answers {
                Answers::Begun(answers) => answers,
                Answers::Awaited(call) => {
                    let begun = soon("the stream's headers", call).await.expect("no panic")?;
                    self.answers = Answers::Begun(Box::new(begun.into_inner()));
                    continue;
                }
            };
            let Some(answer) = soon("an answer on the stream", answers.message()).await? else { return Ok(None) };
            return Ok(Some(answer.frame.expect("a frame has something in it")));
        }
    }

    /// Waits until everything up to a sequence number is accepted. Any other answer but results is a failure; those are kept for
    /// [`Self::next`].
    pub(crate) async fn accepted(&mut self, through: u32) {
        loop {
            match self.next_but_results().await {
                Some(Frame::Accepted(accepted)) if accepted.through_sequence >= through => return,
                Some(Frame::Accepted(_)) => {}
                other => panic!("wanted accepted through {through}, got {other:?}"),
            }
        }
    }

    /// Waits for a refusal of a batch: its sequence number and the status. Results are kept for [`Self::next`].
    pub(crate) async fn rejected(&mut self) -> (u32, Status) {
        loop {
            match self.next_but_results().await {
                Some(Frame::Rejected(Rejected { sequence, status })) => {
                    let status = status.expect("a refusal says why");
                    return (sequence, hashmesh::error::from_message(&status));
                }
                Some(Frame::Accepted(_)) => {}
                other => panic!("wanted rejected, got {other:?}"),
            }
        }
    }

    async fn next_but_results(&mut self) -> Option<Frame> {
        let mut early = std::mem::take(&mut self.early);
        let next = loop {
            match self.next().await.expect("the stream lives") {
                Some(results @ Frame::Results(_)) => early.push_back(results),
                other => break other,
            }
        };
        self.early = early;
        next
    }

    /// Waits for the end of the stream: `Ok` or the status, and the frames before it.
    pub(crate) async fn end(&mut self) -> (Vec<Frame>, Result<(), Status>) {
        let mut frames = Vec::new();
        loop {
            match self.next().await {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => return (frames, Ok(())),
                Err(status) => return (frames, Err(status)),
            }
        }
    }

    /// Waits for the stream to end with an error.
    pub(crate) async fn fails(&mut self) -> Status {
        let (frames, end) = self.end().await;
        end.expect_err(&format!("the stream ends with an error, not with OK after {frames:?}"))
    }
}

/// Tasks as columns, without names.
pub(crate) fn columns<I: AsRef<[u8]>>(inputs: impl IntoIterator<Item = I>) -> PackedTasks {
    let mut tasks = PackedTasks::default();
    let mut data = Vec::new();
    for input in inputs {
        tasks.lengths.push(u32::try_from(input.as_ref().len()).expect("a small input"));
        data.extend_from_slice(input.as_ref());
    }
    tasks.data = data.into();
    tasks
}

/// A batch of inline tasks as columns.
pub(crate) fn packed<I: AsRef<[u8]>>(inputs: impl IntoIterator<Item = I>) -> batch::Tasks {
    batch::Tasks::Columns(columns(inputs))
}

/// A batch as rows.
pub(crate) fn rows(tasks: Vec<Task>) -> batch::Tasks {
    batch::Tasks::Rows(TaskRows { tasks })
}

/// An inline task as a row.
pub(crate) fn inline(name: &str, data: impl Into<Bytes>) -> Task {
    Task { name: name.to_owned(), source: Some(task::Source::Data(data.into())), ..Task::default() }
}

/// A task that names a file.
pub(crate) fn file(name: &str, path: &std::path::Path) -> Task {
    use std::os::unix::ffi::OsStrExt as _;
    let uri = hashmesh::tasks::file_uri(path.as_os_str().as_bytes());
    let object = hashmesh::v1::ObjectReference { uri, range: None };
    Task { name: name.to_owned(), source: Some(task::Source::Object(object)), ..Task::default() }
}

/// Checks code, reason, and that an error says what it should: one `ErrorInfo`, and field paths for bad input.
#[track_caller]
pub(crate) fn assert_refused(status: &Status, wanted: Reason) {
    assert_eq!(reason(status), Some(wanted), "{status:?}");
    assert_eq!(status.code(), wanted.code(), "{status:?}");
    assert!(!status.message().is_empty(), "{status:?}");
    let details = status.get_error_details_vec();
    let infos = details.iter().filter(|detail| matches!(detail, tonic_types::ErrorDetail::ErrorInfo(_))).count();
    assert_eq!(infos, 1, "exactly one ErrorInfo: {status:?}");
    if wanted == Reason::InvalidArgument {
        let fields = violated_fields(status);
        assert!(!fields.is_empty() && fields.iter().all(|field| !field.is_empty()), "no field paths: {status:?}");
    }
}

/// The paths of the fields at fault.
pub(crate) fn violated_fields(status: &Status) -> Vec<String> {
    let request = status.get_details_bad_request();
    request.map_or_else(Vec::new, |request| request.field_violations.into_iter().map(|one| one.field).collect())
}
