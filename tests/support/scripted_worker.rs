//! A worker by the lease protocol's generated types alone: does what a test tells it, right or wrong.

use hashmesh::{
    queue::v1::{
        Credit, Heartbeat, Hello, Lease, LeaseOutcomes, LeaseProgress, LeaseTasksRequest, LeaseTasksResponse,
        lease_tasks_request, lease_tasks_response::Frame, queue_service_client::QueueServiceClient,
    },
    v1::Algorithm,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Channel};

use super::wait::soon;

/// A worker that is connected to a Queue, with credit for many tasks.
#[derive(Debug)]
pub(crate) struct ScriptedWorker {
    frames: mpsc::Sender<LeaseTasksRequest>,
    answers: Streaming<LeaseTasksResponse>,
}

impl ScriptedWorker {
    pub(crate) async fn connect(queue: &str) -> Self {
        Self::connect_for(queue, 10_000, 1 << 30).await
    }

    /// The same with this credit.
    pub(crate) async fn connect_for(queue: &str, tasks: u32, bytes: u64) -> Self {
        let channel = Channel::from_shared(queue.to_owned()).expect("a URL").connect().await.expect("it listens");
        let (frames, receiver) = mpsc::channel(8);
        let hello = Hello {
            held_leases: Vec::new(),
            worker_id: "scripted".to_owned(),
            session: rand::random::<[u8; 16]>().to_vec().into(),
            slots: 1,
            algorithms: vec![Algorithm::Sha256 as i32],
            sources: Vec::new(),
            lists_sources: false,
            begins_alone: false,
        };
        let credit = Credit { tasks, bytes };
        for frame in [lease_tasks_request::Frame::Hello(hello), lease_tasks_request::Frame::Credit(credit)] {
            frames.send(LeaseTasksRequest { frame: Some(frame) }).await.expect("there is room");
        }
        let mut client = QueueServiceClient::new(channel);
        let call = client.lease_tasks(ReceiverStream::new(receiver));
        let answers = soon("a welcome", call).await.expect("it is welcome").into_inner();
        Self { frames, answers }
    }

    /// Says that it lives, and so do these leases.
    pub(crate) async fn keeps(&mut self, leases: impl IntoIterator<Item = u64>) {
        let lease = |lease_id| LeaseProgress { lease_id, ..LeaseProgress::default() };
        let heartbeat = Heartbeat { leases: leases.into_iter().map(lease).collect() };
        let frame = lease_tasks_request::Frame::Heartbeat(heartbeat);
        self.frames.send(LeaseTasksRequest { frame: Some(frame) }).await.expect("the stream lives");
    }

    /// Waits for the first frame that `pick` picks.
    async fn next<T>(&mut self, what: &str, pick: impl Fn(Frame) -> Option<T>) -> T {
        loop {
            let frame = soon(what, self.answers.message()).await.expect("the stream lives").expect("it goes on");
            if let Some(found) = pick(frame.frame.expect("it has something in it")) {
                return found;
            }
        }
    }

    pub(crate) async fn lease(&mut self) -> Lease {
        let pick = |frame| if let Frame::Lease(lease) = frame { Some(lease) } else { None };
        self.next("a lease", pick).await
    }

    /// Waits until a lease is taken back.
    pub(crate) async fn revoked(&mut self) {
        self.next("revoke", |frame| matches!(frame, Frame::Revoke(_)).then_some(())).await;
    }

    /// Hands in digests of zeros for a whole lease, and waits until nothing more is wanted of it.
    pub(crate) async fn hand_in(&mut self, lease: &Lease) {
        let outcomes = LeaseOutcomes {
            lease_id: lease.lease_id,
            epoch: lease.epoch,
            fingerprint: lease.fingerprint.clone(),
            first_task: lease.first_task,
            task_count: lease.task_count,
            digests: vec![0; 32 * lease.task_count as usize].into(),
            kernel: "scripted".to_owned(),
            r#final: true,
            ..LeaseOutcomes::default()
        };
        let frame = lease_tasks_request::Frame::Outcomes(outcomes);
        self.frames.send(LeaseTasksRequest { frame: Some(frame) }).await.expect("the stream lives");
        let settled = |frame| match frame {
            Frame::Settled(settled) if settled.lease_ids.contains(&lease.lease_id) => Some(()),
            _ => None,
        };
        self.next("settled", settled).await;
    }
}
