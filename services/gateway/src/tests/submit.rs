use std::time::Duration;

use hashmesh::{
    error::{Reason, StatusBuilder, from_message, reason},
    gateway::v1::{
        Batch, OpenSubmission, SubmitTasksRequest, batch::Tasks, submit_tasks_request::Frame as In,
        submit_tasks_response::Frame as Out,
    },
    limits::WINDOW_BATCHES,
    queue::v1::write_submission_request::Frame as QueueIn,
    queue::v1::write_submission_response::Frame as QueueOut,
    v1::{Algorithm, PackedOutcomes, PackedTasks, Pong, Rejected, ResultShape, Results, TaskRows},
};
use tokio::time::timeout;

use super::mesh::{ID, Mesh, Queue, batch};

/// Long enough for what must happen.
const SOON: Duration = Duration::from_secs(10);

fn new() -> OpenSubmission {
    OpenSubmission::default()
}

#[tokio::test]
async fn batches_acknowledgements_and_seals_travel_both_ways_until_both_ends_are_done() {
    let mut mesh = Mesh::start().await;
    let (mut client, mut queue) = mesh.open(new()).await;
    client.send_batch(0, b"abc").await;
    let passed = queue.receive_batch().await;
    assert_eq!((passed.sequence, passed.task_count, passed.byte_count), (0, 1, 3));
    queue.accept_through(0).await;
    assert_eq!(client.receive_accepted().await, 0);
    client.seal(1).await;
    assert!(matches!(queue.receive().await, Some(QueueIn::Seal(seal)) if seal.batch_count == 1));
    // Half-closing passes, and ends nothing by itself.
    client.outbound = None;
    assert!(queue.receive().await.is_none());
    queue.send(QueueOut::Completed(Default::default())).await;
    assert!(matches!(client.receive().await, Out::Completed(_)));
    drop(queue);
    assert!(client.ended().await);
}

#[tokio::test]
async fn a_bad_batch_is_rejected_by_its_number_and_the_stream_lives_on() {
    let mut mesh = Mesh::start().await;
    let (mut client, mut queue) = mesh.open(new()).await;
    let md5 = PackedTasks {
        data: "a".into(),
        lengths: vec![1],
        expected: vec![0; 16].into(),
        expected_algorithms: vec![Algorithm::Md5.into()],
        ..Default::default()
    };
    for (sequence, tasks) in [
        (5, None),
        (6, Some(Tasks::Rows(TaskRows::default()))),
        (7, Some(Tasks::Columns(PackedTasks { data: "abc".into(), lengths: vec![4], ..Default::default() }))),
        (8, Some(Tasks::Columns(md5))),
    ] {
        client.send(In::Batch(Batch { sequence, tasks, ..Batch::default() })).await;
        let Out::Rejected(rejected) = client.receive().await else { panic!("wanted `rejected`") };
        assert_eq!(rejected.sequence, sequence);
        let status = from_message(&rejected.status.unwrap());
        assert_eq!(reason(&status), Some(Reason::InvalidArgument));
    }
    client.send_batch(0, b"good").await;
    assert_eq!(queue.receive_batch().await.sequence, 0);
    let refusal = StatusBuilder::new(Reason::SequenceGap, "expected 0").build();
    let status = Some(hashmesh::error::to_message(&refusal));
    queue.send(QueueOut::Rejected(Rejected { sequence: 0, status })).await;
    let Out::Rejected(rejected) = client.receive().await else { panic!("wanted `rejected`") };
    assert_eq!(reason(&from_message(&rejected.status.unwrap())), Some(Reason::SequenceGap));
}

#[tokio::test]
async fn a_frame_out_of_turn_ends_the_stream() {
    let mut mesh = Mesh::start().await;
    let mut early = mesh.stream().await;
    early.send_batch(0, b"a").await;
    assert_eq!(reason(&early.receive_error().await), Some(Reason::ProtocolViolation));

    let mut empty = mesh.stream().await;
    empty.outbound = None;
    assert_eq!(reason(&empty.receive_error().await), Some(Reason::ProtocolViolation));

    let (mut twice, _queue) = mesh.open(new()).await;
    twice.send(In::Open(new())).await;
    assert_eq!(reason(&twice.receive_error().await), Some(Reason::ProtocolViolation));

    let (mut nothing, _queue) = mesh.open(new()).await;
    nothing.outbound.as_ref().unwrap().send(SubmitTasksRequest { frame: None }).await.unwrap();
    assert_eq!(reason(&nothing.receive_error().await), Some(Reason::ProtocolViolation));
}

#[tokio::test]
async fn a_frame_above_the_limit_ends_its_stream_with_the_remedy_and_no_other() {
    let mut mesh = Mesh::start().await;
    let (mut other, mut other_queue) = mesh.open(new()).await;
    let (mut client, _queue) = mesh.open(new()).await;
    let columns = PackedTasks { data: vec![0; 6 << 20].into(), lengths: vec![6 << 20], ..Default::default() };
    client.send(In::Batch(Batch { sequence: 0, tasks: Some(Tasks::Columns(columns)), ..Batch::default() })).await;
    let status = client.receive_error().await;
    assert_eq!(reason(&status), Some(Reason::ProtocolViolation));
    assert!(status.message().contains("smaller batches"), "{status}");
    other.send_batch(0, b"a").await;
    other_queue.receive_batch().await;
    other_queue.accept_through(0).await;
    assert_eq!(other.receive_accepted().await, 0);
}

#[tokio::test]
async fn the_queues_errors_pass_with_their_reasons() {
    let mut mesh = Mesh::start().await;
    let mut unknown = mesh.stream().await;
    unknown.send(In::Open(OpenSubmission { submission_id: ID.to_owned(), ..new() })).await;
    let queue = mesh.queue.streams.recv().await.unwrap();
    let not_found = StatusBuilder::new(Reason::SubmissionNotFound, "no such submission").build();
    queue.outbound.send(Err(not_found)).await.unwrap();
    assert_eq!(reason(&unknown.receive_error().await), Some(Reason::SubmissionNotFound));

    let (mut client, queue) = mesh.open(new()).await;
    let replaced = StatusBuilder::new(Reason::WriterReplaced, "another stream writes").build();
    queue.outbound.send(Err(replaced)).await.unwrap();
    let status = client.receive_error().await;
    assert_eq!((reason(&status), status.code()), (Some(Reason::WriterReplaced), tonic::Code::Aborted));
}

#[tokio::test]
async fn an_open_is_led_to_the_owner() {
    let mut owner = Queue::start().await;
    let other = Queue::start().await;
    let redirect = StatusBuilder::new(Reason::NotOwner, "ask the owner").metadata("owner", &owner.url).build();
    other.script.lock().unwrap().refusals.push(("write", redirect));
    let urls = vec![other.url.clone()];
    let mesh = Mesh::start_with(other, urls).await;
    let client = mesh.stream().await;
    client.send(In::Open(new())).await;
    timeout(SOON, owner.accept()).await.unwrap();
}

#[tokio::test]
async fn a_client_that_sends_too_much_is_read_no_further_than_its_window() {
    let mut mesh = Mesh::start().await;
    let (mut client, mut queue) = mesh.open(new()).await;
    let sender = client.outbound.take().unwrap();
    let sending = tokio::spawn(async move {
        for sequence in 0..WINDOW_BATCHES + 6 {
            let frame = Some(In::Batch(batch(sequence, b"x")));
            sender.send(SubmitTasksRequest { frame }).await.unwrap();
        }
        sender
    });
    for sequence in 0..WINDOW_BATCHES {
        assert_eq!(queue.receive_batch().await.sequence, sequence);
    }
    let sender = sending.await.unwrap();
    // Everything has left the client, and the Queue gets nothing more until it answers.
    assert!(timeout(Duration::from_millis(200), queue.receive()).await.is_err());
    queue.accept_through(1).await;
    assert_eq!(client.receive_accepted().await, 1);
    assert_eq!(queue.receive_batch().await.sequence, WINDOW_BATCHES);
    assert_eq!(queue.receive_batch().await.sequence, WINDOW_BATCHES + 1);
    assert!(timeout(Duration::from_millis(200), queue.receive()).await.is_err());
    drop(sender);
}

#[tokio::test]
async fn a_client_that_vanishes_takes_its_stream_to_the_queue_with_it() {
    let mut mesh = Mesh::start().await;
    let (client, queue) = mesh.open(new()).await;
    drop(client);
    timeout(SOON, queue.outbound.closed()).await.unwrap();

    // Before it has opened anything, and in the middle of a window.
    drop(mesh.stream().await);
    let (client, mut queue) = mesh.open(new()).await;
    client.send_batch(0, b"a").await;
    queue.receive_batch().await;
    drop(client);
    timeout(SOON, queue.outbound.closed()).await.unwrap();
}

/// Promises 8 and 10: what is not read fills one stream's windows, and stops nobody else.
#[tokio::test]
async fn clients_that_never_read_slow_only_themselves() {
    let mut mesh = Mesh::start().await;
    let mut stuck = Vec::new();
    for _ in 0..6 {
        let (client, queue) = mesh.open(OpenSubmission { results: true, ..new() }).await;
        let flood = Results {
            columns: vec![PackedOutcomes {
                first_position: 1,
                task_count: 10_000,
                algorithms: vec![2],
                digests: vec![1; 320_000].into(),
                ..Default::default()
            }],
            through_position: 10_000,
            ..Default::default()
        };
        // Until nothing more goes in: every window on the way is full.
        let frame = || hashmesh::queue::v1::WriteSubmissionResponse { frame: Some(QueueOut::Results(flood.clone())) };
        let mut sent = 0;
        while timeout(Duration::from_millis(300), queue.outbound.send(Ok(frame()))).await.is_ok() {
            sent += 1;
        }
        assert!(sent < 200, "{sent} frames of 320 kB went into a stream that nobody reads");
        stuck.push((client, queue));
    }
    let (mut client, mut queue) = mesh.open(new()).await;
    client.send_batch(0, b"a").await;
    timeout(SOON, queue.receive_batch()).await.unwrap();
    queue.accept_through(0).await;
    assert_eq!(timeout(SOON, client.receive_accepted()).await.unwrap(), 0);
}

#[tokio::test]
async fn outcomes_come_in_the_shape_that_was_asked_for_and_pongs_are_no_frames_of_the_queue() {
    let mut mesh = Mesh::start().await;
    for (shape, rows, columns) in [(ResultShape::Unspecified, 2, 0), (ResultShape::Columns, 0, 1)] {
        let open = OpenSubmission { results: true, result_shape: shape.into(), answers_pings: true, ..new() };
        let (mut client, mut queue) = mesh.open(open).await;
        client.send(In::Pong(Pong { number: 1 })).await;
        client.seal(1).await;
        assert!(matches!(queue.receive().await, Some(QueueIn::Seal(_))));
        let outcomes = PackedOutcomes {
            first_position: 4,
            task_count: 2,
            algorithms: vec![2],
            digests: vec![0xab; 64].into(),
            ..Default::default()
        };
        let results = Results { columns: vec![outcomes], through_position: 5, ..Default::default() };
        queue.send(QueueOut::Results(results)).await;
        let Out::Results(results) = client.receive().await else { panic!("wanted `results`") };
        assert_eq!((results.rows.len(), results.columns.len(), results.through_position), (rows, columns, 5));
        assert!(results.rows.iter().all(|row| row.digests[0].hex == "ab".repeat(32)));
    }
}

/// Promise 12.
#[tokio::test]
async fn a_stop_is_announced_and_what_was_passed_on_is_still_answered() {
    let mut mesh = Mesh::start().await;
    let (mut client, mut queue) = mesh.open(new()).await;
    client.send_batch(0, b"a").await;
    queue.receive_batch().await;
    mesh.shutdown.begin();
    assert!(matches!(client.receive().await, Out::Draining(_)));
    queue.accept_through(0).await;
    assert_eq!(client.receive_accepted().await, 0);
    assert!(client.ended().await);
    timeout(SOON, mesh.gateway).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stop_ends_streams_in_every_state() {
    let mut mesh = Mesh::start().await;
    let mut unopened = mesh.stream().await;
    let mut opening = mesh.stream().await;
    opening.send(In::Open(new())).await;
    let _opening = mesh.queue.streams.recv().await.unwrap();
    let (mut idle, _idle) = mesh.open(new()).await;
    mesh.shutdown.begin();
    for stream in [&mut unopened, &mut opening, &mut idle] {
        assert!(matches!(timeout(SOON, stream.receive()).await.unwrap(), Out::Draining(_)));
        assert!(stream.ended().await);
    }
    timeout(SOON, mesh.gateway).await.unwrap().unwrap();
}
