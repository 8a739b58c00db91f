//! On a terminal: redrawn in place.

use std::{pin::pin, time::Duration};

use futures::StreamExt as _;

use super::{
    Signals, TopArgs, after_the_last, interrupted,
    picture::Picture,
    poll,
    screen::{Screen, Wish},
    state::State,
};
use crate::verbs::failure::{self, Failure};

/// How often the age of the last answer is drawn anew while none comes.
const REDRAW: Duration = Duration::from_secs(1);

/// Draws until someone has seen enough.
pub(super) async fn run(args: &TopArgs) -> Result<u8, Failure> {
    let client = args.server.client_of_single_attempts(poll::PATIENCE)?;
    let server = client.config().server.clone();
    let mut signals = Signals::new()?;
    let mut state = State::new(args.server.retry_for());
    let mut answers = pin!(poll::ask(client, args.interval));
    let mut redraw = tokio::time::interval(REDRAW);
    // The first answer is where the first interval begins.
    let mut intervals = None;
    let mut screen = Screen::open()?;
    loop {
        tokio::select! {
            asked = answers.next() => {
                if let Some(asked) = asked {
                    state.take(asked)?;
                    if state.last.is_some() {
                        intervals = Some(intervals.map_or(0, |before: u64| before + 1));
                    }
                }
                redraw.reset();
            }
            wish = screen.wish() => match wish? {
                Wish::Quit => return Ok(failure::OK),
                Wish::Interrupt => return Err(interrupted()),
                Wish::Redraw => {}
            },
            ended = signals.caught() => return ended,
            _ = redraw.tick() => {}
        }
        let (width, height) = Screen::size();
        screen.draw(&picture(&server, &state).lines(width, height)).await?;
        if args.count > 0 && intervals >= Some(args.count) {
            drop(screen);
            return after_the_last(state.into_error());
        }
    }
}

fn picture<'a>(server: &'a str, state: &'a State) -> Picture<'a> {
    let answered = state.last.as_ref().map_or_else(
        || "waiting for an answer".to_owned(),
        |answer| format!("answered {:.1} s ago", answer.came.elapsed().as_secs_f64()),
    );
    Picture {
        server,
        version: state.last.as_ref().map(|answer| &*answer.version),
        answered,
        outage: state.outage.as_ref().map(super::state::Outage::line),
        stats: state.last.as_ref().map(|answer| &*answer.stats),
        changes: state.changes.as_ref(),
    }
}
