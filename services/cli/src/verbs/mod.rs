//! What users do with a mesh, and without one ([`sum`]).
//!
//! Rules for every verb: nothing but data on standard output, everything else on standard error; exit code 0 if all is
//! well, 1 if a task failed, differs or was skipped, 2 for a wrong command line, 64 + the gRPC code if the mesh refused or
//! could not be reached (`--retry-for`), 130 after Ctrl-C; and memory that does not grow with the number of tasks.

mod admin;
mod algorithms;
mod batches;
mod bench;
mod cache;
mod caching;
mod cancel;
mod changes;
mod compare;
mod controls;
mod deliver;
mod doctor;
mod documents;
mod failure;
mod feed;
mod get;
mod large;
mod lb;
mod list;
mod manifest;
mod name;
mod order;
mod outcome;
mod output;
mod place;
mod placement;
mod print;
mod progress;
mod read;
mod receipt;
mod recorded;
mod reporter;
mod results;
mod resume;
mod retry;
mod schedule;
mod server;
mod shape;
mod size;
mod sort;
mod spool;
mod stats;
mod stdin;
mod submission;
mod submit;
mod sum;
mod top;
mod traced;
mod upload;
mod verdict;
mod verify;
mod walk;
mod watch;

use std::time::Duration;

use clap::Subcommand;
use hashmesh_runtime::trace;

pub(crate) use self::{cache::CacheVerb, failure::exit_code_of};
use self::{failure::Failure, traced::Root};

/// How long what still runs when a verb is done is given to end: a thread that waits for standard input may never.
const FAREWELL: Duration = Duration::from_millis(100);

/// What users do with a mesh.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Submit(submit::SubmitArgs),
    Upload(upload::UploadArgs),
    Verify(verify::VerifyArgs),
    Compare(compare::CompareArgs),
    Receipt(receipt::ReceiptArgs),
    Results(results::ResultsArgs),
    Watch(watch::WatchArgs),
    Get(get::GetArgs),
    List(list::ListArgs),
    Cancel(cancel::CancelArgs),
    Retry(retry::RetryArgs),
    Pause(controls::PauseArgs),
    Resume(controls::ResumeArgs),
    Controls(controls::ControlsArgs),
    Stats(stats::StatsArgs),
    Top(top::TopArgs),
    /// Below the role of this name.
    #[command(skip)]
    Cache(CacheVerb),
    Schedule(schedule::ScheduleArgs),
    Changes(changes::ChangesArgs),
    Admin(admin::AdminArgs),
    Lb(lb::LbArgs),
    Bench(bench::BenchArgs),
    Sum(sum::SumArgs),
    Doctor(doctor::DoctorArgs),
}

/// Does it, on a runtime of its own, and gives the exit code.
pub(crate) fn run(verb: Verb) -> u8 {
    // No mesh, hence no runtime: it would take longer to start than a file to digest.
    if let Verb::Sum(args) = verb {
        return told(args.run());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().thread_name("hashmesh").enable_all().build();
    let done = match runtime {
        Ok(runtime) => {
            let root = Root::begin(&verb);
            let done = runtime.block_on(trace::within(root.context(), dispatch(verb)));
            root.end(&done);
            runtime.shutdown_timeout(FAREWELL);
            done
        }
        Err(error) => Err(Failure::local("cannot start", &error)),
    };
    told(done)
}

/// Says what failed, and gives the exit code.
fn told(done: Result<u8, Failure>) -> u8 {
    match done {
        Ok(code) => code,
        Err(failure) => {
            failure.print();
            failure.exit_code()
        }
    }
}

async fn dispatch(verb: Verb) -> Result<u8, Failure> {
    match verb {
        Verb::Submit(args) => args.run().await,
        Verb::Upload(args) => args.run().await,
        Verb::Verify(args) => args.run().await,
        Verb::Compare(args) => args.run().await,
        Verb::Receipt(args) => args.run().await,
        Verb::Results(args) => args.run().await,
        Verb::Watch(args) => args.run().await,
        Verb::Get(args) => args.run().await,
        Verb::List(args) => args.run().await,
        Verb::Cancel(args) => args.run().await,
        Verb::Retry(args) => args.run().await,
        Verb::Pause(args) => args.run().await,
        Verb::Resume(args) => args.run().await,
        Verb::Controls(args) => args.run().await,
        Verb::Stats(args) => args.run().await,
        Verb::Top(args) => args.run().await,
        Verb::Cache(verb) => verb.run().await,
        Verb::Schedule(args) => args.run().await,
        Verb::Changes(args) => args.run().await,
        Verb::Admin(args) => args.run().await,
        Verb::Lb(args) => args.run().await,
        Verb::Bench(args) => args.run().await,
        Verb::Sum(args) => args.run(),
        Verb::Doctor(args) => args.run().await,
    }
}
