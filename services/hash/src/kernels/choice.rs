//! Which kernels are used, for which lengths and how many inputs: what the CPU has, what gives right digests, and of that what is
//! fastest here.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use super::{
    allowed::{PLAIN, allowed},
    check,
    kernel::{Family, Kernel, SHA256_KERNELS, SHA512_KERNELS},
    messages::{Digests, padded_blocks},
    pieces::Piece,
    plan::Plan,
    standard::{SHA256, SHA512, Sha2},
};

/// Inputs are classed by their blocks, padding included: so many at most, and for the last any number.
const CLASSES: [usize; 7] = [1, 2, 4, 8, 16, 32, usize::MAX];
/// What a class is measured with.
const MEASURED_BLOCKS: [usize; 7] = [1, 2, 3, 6, 12, 20, 64];
/// Fills the lanes of every kernel an even number of times.
const MEASURED_INPUTS: usize = 32;
/// Each candidate's best of so many rounds counts, since others use this machine too.
const ROUNDS: usize = 4;
/// A wider kernel takes at most this percentage of a narrower one's time: measurements of the same differ by less.
const MOST_PERCENT: u128 = 98;
/// What measuring may take, for one family; then what is known must do.
const MOST_TIME: Duration = Duration::from_millis(5);

/// What was chosen for one family.
#[derive(Debug)]
pub(crate) struct Chosen<W: 'static> {
    plans: [Plan<W>; CLASSES.len()],
}

impl Family for u32 {
    fn examples() -> (Sha2<Self>, [&'static str; 3]) {
        (SHA256, check::EXAMPLES_SHA256)
    }

    fn chosen() -> &'static Chosen<Self> {
        static CHOSEN: OnceLock<Chosen<u32>> = OnceLock::new();
        CHOSEN.get_or_init(|| choose(&SHA256_KERNELS, SHA256, allowed()))
    }
}

impl Family for u64 {
    fn examples() -> (Sha2<Self>, [&'static str; 3]) {
        (SHA512, check::EXAMPLES_SHA512)
    }

    fn chosen() -> &'static Chosen<Self> {
        static CHOSEN: OnceLock<Chosen<u64>> = OnceLock::new();
        CHOSEN.get_or_init(|| choose(&SHA512_KERNELS, SHA512, allowed()))
    }
}

impl<W: Family> Chosen<W> {
    /// The names of the kernels that may compute something, the widest first, joined by `+`. None: only `sha2` does.
    pub(crate) fn names(&self) -> Option<String> {
        let mut kernels: Vec<_> =
            self.plans.iter().flat_map(Plan::kernels).map(|kernel| (kernel.lanes, kernel.name)).collect();
        kernels.sort_unstable_by(|left, right| right.cmp(left));
        kernels.dedup();
        let names: Vec<_> = kernels.into_iter().map(|(_, name)| name).collect();
        (!names.is_empty()).then(|| names.join("+"))
    }

    fn plan(&self, blocks: usize) -> &Plan<W> {
        let class = CLASSES.iter().position(|most| blocks <= *most).unwrap_or(CLASSES.len() - 1);
        &self.plans[class]
    }

    /// Writes the digest of every input.
    pub(crate) fn digests(&self, algorithm: Sha2<W>, inputs: &[&[u8]], digests: &mut Digests<'_>) {
        if inputs.is_empty() {
            return;
        }
        let blocks: usize = inputs.iter().map(|input| padded_blocks::<W>(input.len())).sum();
        self.plan(blocks / inputs.len()).digests(algorithm, inputs, digests);
    }

    /// Advances every piece's state over its blocks.
    pub(crate) fn advance(&self, pieces: &mut [Piece<'_, W>]) {
        if pieces.is_empty() {
            return;
        }
        let bytes: usize = pieces.iter().map(|(_, bytes)| bytes.len()).sum();
        self.plan(bytes / W::BLOCK_BYTES / pieces.len()).advance(pieces);
    }
}

/// The fastest of the detected kernels that give right digests, per class, of those that are `allowed`.
pub(super) fn choose<W: Family>(
    kernels: &'static [Kernel<W>],
    algorithm: Sha2<W>,
    allowed: Option<&[&str]>,
) -> Chosen<W> {
    let may = |name: &str| allowed.is_none_or(|names| names.contains(&name));
    let mut candidates: Vec<&'static Kernel<W>> = Vec::with_capacity(kernels.len());
    for kernel in kernels.iter().filter(|kernel| (kernel.detected)() && may(kernel.name)) {
        match check::known_answers(&Plan::only(kernel)) {
            Ok(()) => candidates.push(kernel),
            Err(wrong) => {
                tracing::error!(kernel = kernel.name, family = W::FAMILY, error = %wrong, "a kernel gives wrong digests on this machine and is not used");
            }
        }
    }
    let begun = Instant::now();
    let plain = may(PLAIN);
    Chosen { plans: MEASURED_BLOCKS.map(|blocks| plan(plain, &measure(&candidates, algorithm, blocks, begun))) }
}

/// What each takes for the same inputs.
#[derive(Debug)]
pub(super) struct Times<W: 'static> {
    /// One after another.
    pub(super) alone: Duration,
    pub(super) kernels: Vec<(&'static Kernel<W>, Duration)>,
}

/// Measures the kernels with inputs of so many blocks.
fn measure<W: Family>(kernels: &[&'static Kernel<W>], algorithm: Sha2<W>, blocks: usize, begun: Instant) -> Times<W> {
    // Room for the padding, in the last block.
    let length = blocks * W::BLOCK_BYTES - W::BLOCK_BYTES / 2;
    // Behind one another, as inputs are read: of the same bytes, or of some that share no place in the CPU's first cache, wide kernels
    // would have an easier time than they have. The last class has pages, as pieces of large inputs are.
    let bytes = vec![0x5a; MEASURED_INPUTS * blocks * W::BLOCK_BYTES];
    let inputs: Vec<&[u8]> = bytes.chunks(blocks * W::BLOCK_BYTES).map(|input| &input[..length]).collect();
    let mut out = vec![0; MEASURED_INPUTS * algorithm.digest_bytes];
    let mut time_of = |plan: &Plan<W>| {
        let begun = Instant::now();
        let mut digests = Digests { out: &mut out, at: 0, stride: algorithm.digest_bytes };
        plan.digests(algorithm, &inputs, &mut digests);
        begun.elapsed()
    };
    let mut times =
        Times { alone: Duration::MAX, kernels: kernels.iter().map(|kernel| (*kernel, Duration::MAX)).collect() };
    for round in 0..ROUNDS {
        if round > 0 && begun.elapsed() > MOST_TIME {
            break;
        }
        times.alone = times.alone.min(time_of(&Plan::ALONE));
        for (kernel, time) in &mut times.kernels {
            *time = (*time).min(time_of(&Plan::only(kernel)));
        }
    }
    times
}

/// Each kernel that is faster than all that are narrower, from as many inputs on as it is. `plain`: what is computed one after
/// another is one of these; else a kernel is used even if it is slower.
pub(super) fn plan<W: Family>(plain: bool, times: &Times<W>) -> Plan<W> {
    let mut plan = Plan::ALONE;
    let (mut least, mut beaten) = (times.alone, plain);
    let mut kernels = times.kernels.clone();
    kernels.sort_by_key(|(kernel, _)| kernel.lanes);
    for (kernel, time) in kernels {
        // The wider one waits for more inputs, for which a gain that may be none does not pay.
        if beaten && time.as_nanos() * 100 > least.as_nanos() * MOST_PERCENT {
            continue;
        }
        // A step of all lanes takes as long as so many inputs by what is narrower.
        let worth = (kernel.lanes as u128 * time.as_nanos()).div_ceil(least.as_nanos().max(1));
        let worth = usize::try_from(worth).unwrap_or(kernel.lanes).clamp(kernel.lanes.min(2), kernel.lanes);
        plan = plan.wider(kernel, worth);
        (least, beaten) = (time, true);
    }
    plan
}
