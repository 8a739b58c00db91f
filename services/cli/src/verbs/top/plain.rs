//! Into a pipe or a file: a block of text or an object per interval.

use std::{pin::pin, time::SystemTime};

use futures::StreamExt as _;
use serde_json::{Value, json};

use super::{
    Form, Signals, TopArgs, after_the_last,
    changes::Changes,
    picture::Picture,
    poll::{self, Answer},
    state::{Outage, State, time},
};
use crate::verbs::{failure::Failure, output::Output, stats};

/// Writes what each interval came to, until all are written. The first answer is where the first interval begins.
pub(super) async fn run(args: &TopArgs) -> Result<u8, Failure> {
    let client = args.server.client_of_single_attempts(poll::PATIENCE)?;
    let server = client.config().server.clone();
    let mut signals = Signals::new()?;
    let mut state = State::new(args.server.retry_for());
    let mut answers = pin!(poll::ask(client, args.interval));
    let mut output = Output::new();
    let (mut begun, mut intervals) = (false, 0);
    loop {
        let asked = tokio::select! {
            asked = answers.next() => asked,
            ended = signals.caught() => return ended,
        };
        let Some(asked) = asked else { return after_the_last(state.into_error()) };
        state.take(asked)?;
        if begun {
            match args.output {
                Form::Text => put_block(&server, &state, output.buffer()),
                Form::Jsonl => output.json_line(&object(&state))?,
            }
            output.flush().await?;
            intervals += 1;
        }
        begun |= state.last.is_some();
        if args.count > 0 && intervals >= args.count {
            return after_the_last(state.into_error());
        }
    }
}

/// The picture without a terminal's limits; without an answer, only why there is none.
fn put_block(server: &str, state: &State, out: &mut Vec<u8>) {
    let lines = match (&state.outage, &state.last) {
        (None, Some(answer)) => picture(server, answer, state.changes.as_ref()).lines(usize::MAX, usize::MAX),
        (Some(outage), _) => vec![format!("hashmesh  {server}  {}", outage.line())],
        (None, None) => Vec::new(),
    };
    for line in lines {
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
    }
    out.push(b'\n');
}

fn picture<'a>(server: &'a str, answer: &'a Answer, changes: Option<&'a Changes>) -> Picture<'a> {
    Picture {
        server,
        version: Some(&answer.version),
        answered: time(answer.came_at).to_string(),
        outage: None,
        stats: Some(&answer.stats),
        changes,
    }
}

fn object(state: &State) -> Value {
    match (&state.outage, &state.last) {
        (None, Some(answer)) => json!({
            "at": time(answer.came_at).to_string(),
            "version": &*answer.version,
            "rates": state.changes.as_ref().map(rates),
            "stats": stats::json(&answer.stats),
        }),
        (outage, _) => json!({
            "at": time(SystemTime::now()).to_string(),
            "error": outage.as_ref().map(error),
        }),
    }
}

/// Per second, over so many `seconds`.
fn rates(changes: &Changes) -> Value {
    let Changes { seconds, accepted, recorded, refused, retried, rescued, commits, wal_bytes, saved_bytes, hit_ratio } =
        *changes;
    json!({
        "seconds": seconds,
        "accepted_tasks": accepted,
        "recorded_tasks": recorded,
        "refused_tasks": refused,
        "retried_tasks": retried,
        "rescued_leases": rescued,
        "commits": commits,
        "wal_bytes": wal_bytes,
        "cache_saved_bytes": saved_bytes,
        "cache_hit_ratio": hit_ratio,
    })
}

fn error(outage: &Outage) -> Value {
    json!({ "since": time(outage.since).to_string(), "message": outage.error.to_string() })
}
