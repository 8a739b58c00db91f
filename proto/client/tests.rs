//! The client against a Gateway that breaks off, refuses and repeats on purpose.

use bytes::Bytes;

use super::{
    BatchTrace, ClientError, ResultsQuery, Submitter, Target,
    scripted::{Reading, Scripts, Writing},
};
use crate::{
    error::{Reason, StatusBuilder},
    gateway::v1::{stream_results_response::Frame, submit_tasks_request},
    limits,
    v1::{Algorithm, Completed, Draining, Limits, PackedOutcomes, PackedTasks, Results, Submission},
};

fn batch(number: u8) -> PackedTasks {
    PackedTasks { data: Bytes::from(vec![number]), lengths: vec![1], ..PackedTasks::default() }
}

async fn submitter(scripts: &Scripts) -> Submitter {
    scripts.client().await.submit(Target::default()).await.unwrap()
}

/// Takes what still comes and accepts it, until the client has half-closed.
async fn accept_the_rest(mut stream: Writing) {
    while let Some(frame) = stream.frame().await {
        if let submit_tasks_request::Frame::Batch(batch) = frame {
            stream.accept(batch.sequence).await;
        }
    }
}

#[tokio::test]
async fn a_batch_that_was_not_stored_when_the_stream_broke_is_sent_again() {
    let scripts = Scripts::default()
        .writing(|mut stream| async move {
            assert_eq!(stream.open().await.submission_id, "");
            stream.opened(0).await;
            for number in 0..3 {
                assert_eq!(stream.batch().await, (u32::from(number), number));
            }
            stream.accept(0).await;
            stream.fail(StatusBuilder::new(Reason::UpstreamUnavailable, "gone")).await;
        })
        .writing(|mut stream| async move {
            assert_eq!(stream.open().await.submission_id, "id");
            // Batch 1 was stored, its acknowledgement got lost.
            stream.opened(2).await;
            assert_eq!(stream.batch().await, (2, 2));
            stream.accept(2).await;
            accept_the_rest(stream).await;
        });
    let mut submitter = submitter(&scripts).await;
    for number in 0..3 {
        assert_eq!(submitter.send(batch(number)).await.unwrap(), u32::from(number));
    }
    let progress = submitter.progress();
    submitter.seal().await.unwrap();
    assert_eq!((progress.accepted_tasks(), progress.reconnects()), (3, 1));
    assert_eq!(*scripts.sealed.lock().unwrap(), Some(3));
}

#[tokio::test]
async fn a_batch_that_cannot_be_stored_just_now_is_sent_again_and_one_refused_for_good_is_an_error() {
    let scripts = Scripts::default()
        .writing(|mut stream| async move {
            stream.open().await;
            stream.opened(0).await;
            stream.batch().await;
            stream.reject(0, StatusBuilder::new(Reason::Recovering, "wait")).await;
            while stream.frame().await.is_some() {}
        })
        .writing(|mut stream| async move {
            stream.open().await;
            stream.opened(0).await;
            assert_eq!(stream.batch().await, (0, 7));
            stream.accept(0).await;
            stream.batch().await;
            stream.reject(1, StatusBuilder::new(Reason::InvalidArgument, "bad")).await;
            while stream.frame().await.is_some() {}
        });
    let mut submitter = submitter(&scripts).await;
    submitter.send(batch(7)).await.unwrap();
    submitter.flush().await.unwrap();
    submitter.send(batch(8)).await.unwrap();
    let error = submitter.flush().await.unwrap_err();
    assert!(matches!(error, ClientError::Rejected { sequence: 1, .. }), "{error}");
    let again = submitter.send(batch(9)).await.unwrap_err();
    assert_eq!(again.to_string(), error.to_string());
}

#[tokio::test]
async fn a_replaced_writer_does_not_come_back() {
    let scripts = Scripts::default().writing(|mut stream| async move {
        stream.open().await;
        stream.opened(0).await;
        stream.batch().await;
        stream.fail(StatusBuilder::new(Reason::WriterReplaced, "another")).await;
    });
    let mut submitter = submitter(&scripts).await;
    submitter.send(batch(0)).await.unwrap();
    let error = submitter.flush().await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::WriterReplaced));
}

#[tokio::test]
async fn a_draining_stream_is_left_once_everything_is_answered() {
    let scripts = Scripts::default()
        .writing(|mut stream| async move {
            stream.open().await;
            stream.opened(0).await;
            stream.batch().await;
            stream.drain().await;
            // The client half-closes and waits for what is under way.
            assert_eq!(stream.frame().await, None);
            stream.accept(0).await;
        })
        .writing(|mut stream| async move {
            stream.open().await;
            stream.opened(1).await;
            assert_eq!(stream.batch().await, (1, 1));
            stream.accept(1).await;
            accept_the_rest(stream).await;
        });
    let mut submitter = submitter(&scripts).await;
    submitter.send(batch(0)).await.unwrap();
    submitter.flush().await.unwrap();
    submitter.send(batch(1)).await.unwrap();
    submitter.close().await.unwrap();
}

#[tokio::test]
async fn pings_are_answered_while_the_window_is_full() {
    let scripts = Scripts::default().writing(|mut stream| async move {
        assert!(stream.open().await.answers_pings);
        stream.opened_within(0, Limits { window_batches: 1, ..limits::announced() }).await;
        assert_eq!(stream.batch().await, (0, 0));
        stream.ping(4).await;
        match stream.frame().await {
            Some(submit_tasks_request::Frame::Pong(pong)) => assert_eq!(pong.number, 4),
            other => panic!("expected a pong, got {other:?}"),
        }
        stream.accept(0).await;
        accept_the_rest(stream).await;
    });
    let mut submitter = submitter(&scripts).await;
    submitter.send(batch(0)).await.unwrap();
    submitter.send(batch(1)).await.unwrap();
    submitter.close().await.unwrap();
}

#[tokio::test]
async fn a_server_that_lost_what_it_acknowledged_is_not_trusted_further() {
    let scripts = Scripts::default()
        .writing(|mut stream| async move {
            stream.open().await;
            stream.opened(0).await;
            stream.batch().await;
            stream.accept(0).await;
            stream.batch().await;
            stream.fail(StatusBuilder::new(Reason::Draining, "restart")).await;
        })
        .writing(|mut stream| async move {
            stream.open().await;
            stream.opened(0).await;
            while stream.frame().await.is_some() {}
        });
    let mut submitter = submitter(&scripts).await;
    submitter.send(batch(0)).await.unwrap();
    submitter.send(batch(1)).await.unwrap();
    let error = submitter.flush().await.unwrap_err();
    assert!(matches!(error, ClientError::Protocol(_)), "{error}");
}

#[tokio::test]
async fn a_rerun_sends_from_the_start_what_the_server_is_to_compare() {
    let scripts = Scripts::default()
        .writing(|mut stream| async move {
            assert_eq!(stream.open().await.idempotency_key, "key");
            stream.opened(2).await;
            assert_eq!(stream.batch().await, (0, 0));
            stream.fail(StatusBuilder::new(Reason::Draining, "restart")).await;
        })
        .writing(|mut stream| async move {
            stream.open().await;
            stream.opened(2).await;
            for number in 0..3 {
                assert_eq!(stream.batch().await, (u32::from(number), number));
            }
            stream.accept(2).await;
            accept_the_rest(stream).await;
        });
    let target = Target::New { options: Default::default(), idempotency_key: Some("key".to_owned()) };
    let mut submitter = scripts.client().await.submit_from_start(target).await.unwrap();
    assert_eq!(submitter.next_sequence(), 0);
    for number in 0..3 {
        submitter.send(batch(number)).await.unwrap();
    }
    submitter.seal().await.unwrap();
    assert_eq!(*scripts.sealed.lock().unwrap(), Some(3));
}

fn outcomes(first_position: u64, task_count: u32) -> Frame {
    let digests = Bytes::from(vec![0; 16 * task_count as usize]);
    let algorithms = vec![Algorithm::Md5 as i32];
    let columns = PackedOutcomes { first_position, task_count, algorithms, digests, ..PackedOutcomes::default() };
    let through_position = columns.through_position();
    Frame::Results(Results { columns: vec![columns], through_position, ..Results::default() })
}

fn completed(recorded_tasks: u64) -> Frame {
    Frame::Completed(Completed { summary: Some(Submission { recorded_tasks, ..Submission::default() }) })
}

#[tokio::test]
async fn outcomes_are_read_once_across_breaks_and_planned_stops() {
    let scripts = Scripts::default()
        .reading(|stream: Reading| async move {
            assert_eq!((stream.request.after_position, stream.request.follow), (2, true));
            stream.send(outcomes(3, 2)).await;
            let _ = stream.out.send(Err(StatusBuilder::new(Reason::UpstreamUnavailable, "gone").build())).await;
        })
        .reading(|stream: Reading| async move {
            assert_eq!(stream.request.after_position, 4);
            // Repeats what was seen.
            stream.send(outcomes(4, 3)).await;
            stream.send(Frame::Draining(Draining { reason: "restart".to_owned() })).await;
        })
        // Ends without a word.
        .reading(|stream: Reading| async move { stream.send(outcomes(7, 1)).await })
        .reading(|stream: Reading| async move {
            assert_eq!(stream.request.after_position, 7);
            stream.send(outcomes(8, 2)).await;
            stream.send(completed(9)).await;
        });
    let query = ResultsQuery { after_position: 2, ..ResultsQuery::following("id") };
    let mut results = scripts.client().await.results(query);
    let mut seen = Vec::new();
    while let Some(outcomes) = results.next().await.unwrap() {
        seen.extend(outcomes.first_position..=outcomes.through_position());
        assert_eq!(Some(&results.position()), seen.last());
    }
    assert_eq!(seen, (3..=9).collect::<Vec<_>>());
    assert_eq!(results.summary().map(|summary| summary.recorded_tasks), Some(9));
    assert!(results.next().await.unwrap().is_none());
}

#[tokio::test]
async fn a_stream_that_is_said_to_be_complete_before_its_last_outcome_is_asked_for_the_rest() {
    let scripts = Scripts::default()
        .reading(|stream: Reading| async move {
            stream.send(outcomes(1, 2)).await;
            stream.send(completed(3)).await;
        })
        .reading(|stream: Reading| async move {
            assert_eq!(stream.request.after_position, 2);
            stream.send(outcomes(3, 1)).await;
            stream.send(completed(3)).await;
        });
    let mut results = scripts.client().await.results(ResultsQuery::following("id"));
    let mut seen = 0;
    while let Some(outcomes) = results.next().await.unwrap() {
        seen += outcomes.task_count;
    }
    assert_eq!((seen, results.summary().map(|summary| summary.recorded_tasks)), (3, Some(3)));
}

#[tokio::test]
async fn a_reader_that_does_not_follow_ends_with_the_stream_but_not_with_a_broken_one() {
    let scripts = Scripts::default()
        .reading(|stream: Reading| async move {
            stream.send(outcomes(1, 1)).await;
            let _ = stream.out.send(Err(StatusBuilder::new(Reason::Draining, "restart").build())).await;
        })
        .reading(|stream: Reading| async move { stream.send(outcomes(2, 1)).await });
    let query = ResultsQuery { follow: false, ..ResultsQuery::following("id") };
    let mut results = scripts.client().await.results(query);
    let mut seen = 0;
    while let Some(outcomes) = results.next().await.unwrap() {
        seen += outcomes.task_count;
    }
    assert_eq!(seen, 2);
    assert!(results.summary().is_none());
}

const CAUSE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const ANOTHER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Tells when it is dropped.
struct Held(std::sync::mpsc::Sender<&'static str>, &'static str);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.send(self.1);
    }
}

#[tokio::test]
async fn what_causes_a_client_and_its_batches_is_told_again_after_an_outage_and_let_go_once_they_are_stored() {
    let caused = |frame| match frame {
        Some(submit_tasks_request::Frame::Batch(batch)) => batch.traceparent,
        other => panic!("expected a batch, got {other:?}"),
    };
    let scripts = Scripts::default()
        .writing(move |mut stream| async move {
            assert_eq!(stream.metadata.get("traceparent").unwrap(), CAUSE);
            stream.open().await;
            stream.opened(0).await;
            assert_eq!(caused(stream.frame().await), "");
            assert_eq!(caused(stream.frame().await), ANOTHER);
            stream.accept(0).await;
            stream.fail(StatusBuilder::new(Reason::UpstreamUnavailable, "gone")).await;
        })
        .writing(move |mut stream| async move {
            assert_eq!(stream.metadata.get("traceparent").unwrap(), CAUSE);
            stream.open().await;
            stream.opened(1).await;
            assert_eq!(caused(stream.frame().await), ANOTHER);
            stream.accept(1).await;
            accept_the_rest(stream).await;
        });
    let client = scripts.client().await.traced(CAUSE);
    let mut submitter = client.submit(Target::default()).await.unwrap();
    let (sender, dropped) = std::sync::mpsc::channel();
    submitter.send(batch(0)).await.unwrap();
    submitter.send_traced(batch(1), BatchTrace::new(ANOTHER, Held(sender.clone(), "stored"))).await.unwrap();
    submitter.flush().await.unwrap();
    assert_eq!(dropped.try_recv(), Ok("stored"));
    // One that cannot be sent is given up at once.
    let too_large = PackedTasks::default();
    submitter.send_traced(too_large, BatchTrace::new(ANOTHER, Held(sender, "given up"))).await.unwrap_err();
    assert_eq!(dropped.try_recv(), Ok("given up"));
}

#[tokio::test]
async fn what_outcomes_come_from_is_handed_out_once_for_each_frame_that_has_something_new() {
    let traced = |first, cause: &str| match outcomes(first, 2) {
        Frame::Results(results) => Frame::Results(Results { traceparents: vec![cause.to_owned()], ..results }),
        other => other,
    };
    let scripts = Scripts::default().reading(move |stream: Reading| async move {
        assert!(stream.metadata.get("traceparent").is_none());
        stream.send(traced(1, CAUSE)).await;
        // All of it was seen.
        stream.send(traced(1, "again")).await;
        stream.send(traced(3, ANOTHER)).await;
        stream.send(outcomes(5, 1)).await;
        stream.send(completed(5)).await;
    });
    // What no header can hold counts as none.
    let client = scripts.client().await.traced("\n");
    let mut results = client.results(ResultsQuery::following("id"));
    let mut causes = Vec::new();
    while results.next().await.unwrap().is_some() {
        causes.push(results.take_traceparents());
        assert!(results.take_traceparents().is_empty());
    }
    assert_eq!(causes, [vec![CAUSE.to_owned()], vec![ANOTHER.to_owned()], vec![]]);
}
