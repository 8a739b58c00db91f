//! A call's deadline, as the server's layer found it: who calls when it has passed is told so by that layer at the latest.

use std::time::Duration;

use hashmesh_runtime::server;
use tonic::{Request, Status};

use crate::error;

/// For the opening of a stream, and for calls without a deadline: nothing may wait for ever.
pub(crate) const DEFAULT: Duration = Duration::from_secs(60);
/// What a service behind us is given more than is left. So we are always the first to give up: a timeout of the channel's
/// would count as a failure of the service, and impatient callers could make its breaker open.
const SLACK: Duration = Duration::from_millis(10);

/// When a call must have been answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(server::Deadline);

impl Deadline {
    /// The call's deadline, at most [`DEFAULT`] from now.
    pub(crate) fn of<T>(request: &Request<T>) -> Self {
        Self::within(request, DEFAULT)
    }

    /// The call's deadline, at most `longest` from now.
    pub(crate) fn within<T>(request: &Request<T>, longest: Duration) -> Self {
        let found = request.extensions().get::<server::Deadline>();
        found.map_or_else(|| Self::after(longest), |found| Self(found.within(longest)))
    }

    /// This long from now.
    pub(crate) fn after(time: Duration) -> Self {
        Self(server::Deadline::after(time))
    }

    /// A request to a service behind us, which learns how much time is left.
    pub(crate) fn forward<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.0.remaining() + SLACK);
        request
    }

    /// The answer, or DEADLINE_EXCEEDED.
    pub(crate) async fn limit<T>(&self, answer: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        tokio::select! {
            biased;
            // First: what the answer is once the time is over says more of us than of who gives it.
            () = tokio::time::sleep_until(self.0.at()) => Err(error::deadline_exceeded()),
            answer = answer => answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_deadline_is_deadline_exceeded_whoever_notices_it_first() {
        let deadline = Deadline::after(Duration::from_millis(100));
        let never = std::future::pending::<Result<(), Status>>();
        assert_eq!(deadline.limit(never).await.unwrap_err().code(), Code::DeadlineExceeded);
        let inner = async { Err::<(), _>(Status::cancelled("Timeout expired")) };
        assert_eq!(deadline.limit(inner).await.unwrap_err().code(), Code::DeadlineExceeded);
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_has_its_deadline_and_one_without_gets_one() {
        let mut request = Request::new(());
        assert_eq!(Deadline::of(&request).0.remaining(), DEFAULT);
        for (seconds, wanted) in [(1, 1), (7_200, 60)] {
            request.extensions_mut().insert(server::Deadline::after(Duration::from_secs(seconds)));
            assert_eq!(Deadline::of(&request).0.remaining(), Duration::from_secs(wanted));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_asked_next_is_told_how_much_time_is_left_and_not_less() {
        let deadline = Deadline::after(Duration::from_millis(500));
        tokio::time::advance(Duration::from_millis(200)).await;
        assert_eq!(deadline.forward(()).metadata().get("grpc-timeout").unwrap(), "310000u");
    }
}
