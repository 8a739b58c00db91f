//! Which kernel is used, for which lengths: what the CPU has, what gives right digests, and of that what is fastest here.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use super::{
    check,
    kernel::{Family, Kernel, SHA256_KERNELS, SHA512_KERNELS},
    messages::{Digests, padded_blocks},
    pieces::Piece,
    standard::{SHA256, SHA512, Sha2},
};

/// `HASHMESH_KERNELS` names those that may be used, separated by commas: `sha2` is one input after another.
const VARIABLE: &str = "HASHMESH_KERNELS";
/// One input after another: the library that the kernels are checked with.
pub(super) const PLAIN: &str = "sha2";

/// Inputs are classed by their blocks, padding included: so many at most, and for the last any number.
const CLASSES: [usize; 4] = [1, 4, 16, usize::MAX];
/// What a class is measured with.
const MEASURED_BLOCKS: [usize; 4] = [1, 3, 10, 32];
/// Fills the lanes of every kernel an even number of times.
const MEASURED_INPUTS: usize = 48;
/// Each candidate's best of so many rounds counts, since others use this machine too.
const ROUNDS: usize = 4;
/// What measuring may take, for one family; then what is known must do.
const MOST_TIME: Duration = Duration::from_millis(5);

/// What computes inputs of one class.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<W: 'static> {
    /// None: one after another.
    kernel: Option<&'static Kernel<W>>,
    /// With fewer inputs, one after another is faster.
    worth: usize,
}

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
        CHOSEN.get_or_init(|| choose(&SHA256_KERNELS, SHA256, std::env::var(VARIABLE).ok().as_deref()))
    }
}

impl Family for u64 {
    fn examples() -> (Sha2<Self>, [&'static str; 3]) {
        (SHA512, check::EXAMPLES_SHA512)
    }

    fn chosen() -> &'static Chosen<Self> {
        static CHOSEN: OnceLock<Chosen<u64>> = OnceLock::new();
        CHOSEN.get_or_init(|| choose(&SHA512_KERNELS, SHA512, std::env::var(VARIABLE).ok().as_deref()))
    }
}

impl<W: Family> Chosen<W> {
    /// The names of the kernels that may compute something, the widest first, joined by `+`. None: only `sha2` does.
    pub(crate) fn names(&self) -> Option<String> {
        let mut names: Vec<&str> = Vec::new();
        for kernel in self.plans.iter().rev().filter_map(|plan| plan.kernel) {
            if !names.contains(&kernel.name) {
                names.push(kernel.name);
            }
        }
        (!names.is_empty()).then(|| names.join("+"))
    }

    fn plan(&self, blocks: usize) -> Plan<W> {
        let class = CLASSES.iter().position(|most| blocks <= *most).unwrap_or(CLASSES.len() - 1);
        self.plans[class]
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

impl<W: Family> Plan<W> {
    pub(super) const ALONE: Self = Self { kernel: None, worth: 1 };

    /// `kernel` for any number of inputs.
    pub(super) const fn only(kernel: &'static Kernel<W>) -> Self {
        Self { kernel: Some(kernel), worth: 1 }
    }

    pub(super) fn digests(&self, algorithm: Sha2<W>, inputs: &[&[u8]], digests: &mut Digests<'_>) {
        match self.kernel {
            Some(kernel) if inputs.len() >= self.worth => {
                // SAFETY: plans are made of kernels that were detected.
                unsafe { (kernel.digests)(algorithm, inputs, digests, self.worth) }
            }
            _ => {
                for (number, input) in inputs.iter().enumerate() {
                    (algorithm.plain)(input, digests.of(number, algorithm.digest_bytes));
                }
            }
        }
    }

    pub(super) fn advance(&self, pieces: &mut [Piece<'_, W>]) {
        match self.kernel {
            Some(kernel) if pieces.len() >= self.worth => {
                // SAFETY: plans are made of kernels that were detected.
                unsafe { (kernel.advance)(pieces, self.worth) }
            }
            _ => pieces.iter_mut().for_each(|(state, bytes)| W::compress(state, bytes)),
        }
    }
}

/// The fastest of the detected kernels that give right digests, per class. `allowed`: what the variable says.
pub(super) fn choose<W: Family>(kernels: &'static [Kernel<W>], algorithm: Sha2<W>, allowed: Option<&str>) -> Chosen<W> {
    let allowed: Option<Vec<&str>> = allowed.map(|names| names.split(',').map(str::trim).collect());
    let may = |name: &str| allowed.as_ref().is_none_or(|names| names.contains(&name));
    let mut candidates: Vec<Plan<W>> = Vec::with_capacity(kernels.len() + 1);
    for kernel in kernels.iter().filter(|kernel| (kernel.detected)() && may(kernel.name)) {
        match check::known_answers(Plan::only(kernel)) {
            Ok(()) => candidates.push(Plan::only(kernel)),
            Err(wrong) => {
                tracing::error!(kernel = kernel.name, family = W::FAMILY, error = %wrong, "a kernel gives wrong digests on this machine and is not used");
            }
        }
    }
    // What is named and is not here leaves this.
    if may(PLAIN) || candidates.is_empty() {
        candidates.push(Plan::ALONE);
    }
    let begun = Instant::now();
    Chosen { plans: MEASURED_BLOCKS.map(|blocks| fastest(&candidates, algorithm, blocks, begun)) }
}

/// The fastest candidate for inputs of so many blocks, and from how many inputs on it is.
fn fastest<W: Family>(candidates: &[Plan<W>], algorithm: Sha2<W>, blocks: usize, begun: Instant) -> Plan<W> {
    // Room for the padding, in the last block.
    let length = blocks * W::BLOCK_BYTES - W::BLOCK_BYTES / 2;
    let bytes = vec![0x5a; length];
    let inputs = [&bytes[..]; MEASURED_INPUTS];
    let mut out = vec![0; MEASURED_INPUTS * algorithm.digest_bytes];
    let mut time_of = |plan: &Plan<W>| {
        let begun = Instant::now();
        let mut digests = Digests { out: &mut out, at: 0, stride: algorithm.digest_bytes };
        plan.digests(algorithm, &inputs, &mut digests);
        begun.elapsed()
    };
    let mut alone = Duration::MAX;
    let mut times = vec![Duration::MAX; candidates.len()];
    for round in 0..ROUNDS {
        if round > 0 && begun.elapsed() > MOST_TIME {
            break;
        }
        alone = alone.min(time_of(&Plan::ALONE));
        for (time, candidate) in times.iter_mut().zip(candidates) {
            *time = (*time).min(time_of(candidate));
        }
    }
    let best = times.iter().zip(candidates).min_by_key(|(time, _)| **time);
    let Some((time, Plan { kernel: Some(kernel), .. })) = best else { return Plan::ALONE };
    // A step of all lanes takes as long as so many inputs alone.
    let worth = (kernel.lanes as u128 * time.as_nanos()).div_ceil(alone.as_nanos().max(1));
    Plan { kernel: Some(kernel), worth: usize::try_from(worth).unwrap_or(kernel.lanes).clamp(2, kernel.lanes) }
}
