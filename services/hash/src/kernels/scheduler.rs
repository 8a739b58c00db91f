//! Keeps the lanes of an engine full: a lane that has ended its input takes the next one, whatever the others do.
//!
//! All lanes go as far as the one that ends first. When no input is left for the lanes that ended, and few are still at
//! work, what is narrower goes on with these.

use super::{engine::Engine, pieces::Piece, plan::Rest, standard::Word};

/// Whole blocks of one input, in one place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) place: *const u8,
    pub(super) blocks: usize,
}

/// What lanes work on: inputs, each as one run or several.
///
/// # Safety
/// Every run has at least one block, and its bytes are readable, and do not change, until the lane that got it has asked
/// for what follows it, or the source is gone.
pub(super) unsafe trait Source<W> {
    /// The next input's state and first run, for a lane that has none. None: there is none, now and later.
    fn begin(&mut self, lane: usize) -> Option<([W; 8], Run)>;

    /// What follows in the lane's input. None: it has ended.
    fn next_run(&mut self, lane: usize) -> Option<Run>;

    /// Takes the state at the end of the lane's input.
    fn end(&mut self, lane: usize, state: &[W; 8]);
}

/// The runs that are left of a lane without an input: more than any other's, so that it never ends first.
const IDLE: usize = usize::MAX;

/// Works on all inputs, and leaves the last ones to `rest`.
///
/// # Safety
/// The CPU has the engine's instructions.
pub(super) unsafe fn run<E: Engine<LANES>, const LANES: usize>(
    source: &mut impl Source<E::Word>,
    rest: Rest<'_, E::Word>,
) {
    let mut states = E::states();
    let mut places = [std::ptr::null(); LANES];
    let mut left = [IDLE; LANES];
    let mut busy = 0;
    for lane in 0..LANES {
        let Some((state, run)) = source.begin(lane) else { break };
        E::set(&mut states, lane, &state);
        (places[lane], left[lane]) = (run.place, run.blocks);
        busy += 1;
    }
    while busy >= rest.worth.max(1) {
        if busy < LANES {
            lend(&mut places, &left);
        }
        let blocks = left.iter().copied().fold(IDLE, usize::min);
        // SAFETY: the caller answers for the CPU. No lane has fewer blocks left, and an idle one reads what another does.
        unsafe { E::compress(&mut states, &mut places, blocks) };
        for lane in 0..LANES {
            if left[lane] == IDLE {
                continue;
            }
            left[lane] -= blocks;
            if left[lane] > 0 {
                continue;
            }
            let mut next = source.next_run(lane);
            if next.is_none() {
                source.end(lane, &E::get(&states, lane));
                if let Some((state, run)) = source.begin(lane) {
                    E::set(&mut states, lane, &state);
                    next = Some(run);
                }
            }
            if let Some(run) = next {
                (places[lane], left[lane]) = (run.place, run.blocks);
            } else {
                left[lane] = IDLE;
                busy -= 1;
            }
        }
    }
    let mut lanes = Vec::with_capacity(busy);
    for lane in 0..LANES {
        if left[lane] != IDLE {
            let run = Run { place: places[lane], blocks: left[lane] };
            lanes.push((lane, E::get(&states, lane), run));
        }
    }
    finish(source, lanes, rest);
}

/// Gives idle lanes something to read: what a busy one reads. There is one.
fn lend<const LANES: usize>(places: &mut [*const u8; LANES], left: &[usize; LANES]) {
    let Some(busy) = left.iter().position(|left| *left != IDLE) else { return };
    for lane in 0..LANES {
        if left[lane] == IDLE {
            places[lane] = places[busy];
        }
    }
}

/// Works on what is left of the lanes' inputs, too few for the engine, and on all inputs that then come.
fn finish<W: Word>(source: &mut impl Source<W>, mut lanes: Vec<(usize, [W; 8], Run)>, rest: Rest<'_, W>) {
    while !lanes.is_empty() {
        let mut pieces: Vec<Piece<'_, W>> = Vec::with_capacity(lanes.len());
        for (_, state, run) in &mut lanes {
            // SAFETY: the source answers for the bytes of a run until the lane asks for more.
            let blocks = unsafe { std::slice::from_raw_parts(run.place, run.blocks * W::BLOCK_BYTES) };
            pieces.push((state, blocks));
        }
        rest.advance(&mut pieces);
        lanes.retain_mut(|(lane, state, run)| {
            let mut next = source.next_run(*lane);
            if next.is_none() {
                source.end(*lane, state);
                if let Some((initial, first)) = source.begin(*lane) {
                    *state = initial;
                    next = Some(first);
                }
            }
            next.is_some_and(|next| {
                *run = next;
                true
            })
        });
    }
}
