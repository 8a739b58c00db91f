//! A client that waits out outages and resumes by itself.
//!
//! [`Client`] makes the unary calls. [`Client::submit`] opens a submission for writing and gives a [`Submitter`], which
//! sends batches within the server's window, keeps what is not acknowledged, and after any transient failure reconnects and
//! sends again from where the server stands. [`Client::results`] gives a [`ResultStream`]: a submission's outcomes by
//! position, each exactly once, across as many reconnects as it takes.
//!
//! ```no_run
//! use hashmesh::client::{BatchBuilder, Client, ClientConfig, ClientError, ResultsQuery, Target};
//!
//! # async fn example() -> Result<(), ClientError> {
//! let client = Client::connect(ClientConfig::default())?;
//! let mut submitter = client.submit(Target::default()).await?;
//! let mut batch = BatchBuilder::new(submitter.limits());
//! batch.push_inline(b"greeting", b"hello");
//! submitter.send(batch.take()).await?;
//! let submission = submitter.seal().await?;
//!
//! let mut results = client.results(ResultsQuery::following(&submission.submission_id));
//! while let Some(outcomes) = results.next().await? {
//!     println!("{} outcomes from position {}", outcomes.task_count, outcomes.first_position);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What is transient: `UNAVAILABLE`, everything whose status says when to try again, and every failure of the transport.
//! All else is final, `WRITER_REPLACED` above all: two writers that took turns by themselves would never end.
//! The client waits at most [`ClientConfig::retry_for`] for each outage, and everything it keeps is bounded by the
//! server's window.
//!
//! A program that traces says what causes its calls by [`Client::traced`], and its batches by [`Submitter::send_traced`];
//! [`ResultStream::take_traceparents`] says what the outcomes come from.
//!
//! Every stream has a connection of its own, replaced when the stream is: a reader that stalls cannot hold up the
//! acknowledgements of a writer, and after a planned stop the next connection may reach another Gateway.

mod batch;
mod config;
mod connection;
mod error;
mod follow;
mod outage;
mod results;
#[cfg(test)]
mod scripted;
mod submit;
mod submit_driver;
#[cfg(test)]
mod tests;
mod tls;
mod traced;
mod unary;
mod upload;
mod watch;
mod window;

pub use batch::BatchBuilder;
pub use config::ClientConfig;
pub use connection::{Client, KeyedChannel, ShowKey};
pub use error::ClientError;
pub use results::{ResultStream, ResultsQuery};
pub use submit::{Progress, Submitter, Target};
pub use tls::TlsOptions;
pub use traced::BatchTrace;
pub use upload::Uploader;
pub use watch::SubmissionWatch;
