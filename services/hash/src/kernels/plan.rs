//! How many inputs are computed by which kernel: the widest one while its lanes are filled, then what is narrower.

use super::{
    kernel::Kernel,
    messages::Digests,
    pieces::Piece,
    standard::{Sha2, Word},
};

/// A kernel, and from how many inputs on it is the fastest.
#[derive(Clone, Copy, Debug)]
struct Step<W: 'static> {
    kernel: &'static Kernel<W>,
    worth: usize,
}

/// Kernels, the widest first. Inputs that are too few for all of them are computed one after another.
#[derive(Clone, Debug)]
pub(crate) struct Plan<W: 'static> {
    steps: Vec<Step<W>>,
}

/// What becomes of the last inputs of a kernel, which leave some of its lanes idle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest<'p, W: 'static> {
    /// With fewer lanes at work, what is narrower is faster.
    pub(super) worth: usize,
    narrower: &'p [Step<W>],
}

impl<W: Word> Plan<W> {
    pub(super) const ALONE: Self = Self { steps: Vec::new() };

    /// `kernel` for any number of inputs.
    pub(super) fn only(kernel: &'static Kernel<W>) -> Self {
        Self::ALONE.wider(kernel, 1)
    }

    /// With a kernel that has more lanes than those before it, for so many inputs and more.
    pub(super) fn wider(mut self, kernel: &'static Kernel<W>, worth: usize) -> Self {
        self.steps.insert(0, Step { kernel, worth });
        self
    }

    /// Its kernels, the widest first.
    pub(super) fn kernels(&self) -> impl Iterator<Item = &'static Kernel<W>> {
        self.steps.iter().map(|step| step.kernel)
    }

    /// What computes so many inputs. None: they are computed one after another.
    pub(super) fn kernel_for(&self, inputs: usize) -> Option<(&'static Kernel<W>, Rest<'_, W>)> {
        kernel_for(&self.steps, inputs)
    }

    pub(super) fn digests(&self, algorithm: Sha2<W>, inputs: &[&[u8]], digests: &mut Digests<'_>) {
        if let Some((kernel, rest)) = self.kernel_for(inputs.len()) {
            // SAFETY: plans are made of kernels that were detected.
            unsafe { (kernel.digests)(algorithm, inputs, digests, rest) }
        } else {
            for (number, input) in inputs.iter().enumerate() {
                (algorithm.plain)(input, digests.of(number, algorithm.digest_bytes));
            }
        }
    }

    pub(super) fn advance(&self, pieces: &mut [Piece<'_, W>]) {
        advance(&self.steps, pieces);
    }
}

impl<W: Word> Rest<'_, W> {
    /// Advances every piece's state without the kernel that left them.
    pub(super) fn advance(&self, pieces: &mut [Piece<'_, W>]) {
        advance(self.narrower, pieces);
    }
}

fn kernel_for<W>(steps: &[Step<W>], inputs: usize) -> Option<(&'static Kernel<W>, Rest<'_, W>)> {
    let place = steps.iter().position(|step| inputs >= step.worth)?;
    let Step { kernel, worth } = steps[place];
    Some((kernel, Rest { worth, narrower: &steps[place + 1..] }))
}

fn advance<W: Word>(steps: &[Step<W>], pieces: &mut [Piece<'_, W>]) {
    if let Some((kernel, rest)) = kernel_for(steps, pieces.len()) {
        // SAFETY: plans are made of kernels that were detected.
        unsafe { (kernel.advance)(pieces, rest) }
    } else {
        pieces.iter_mut().for_each(|(state, bytes)| W::compress(state, bytes));
    }
}
