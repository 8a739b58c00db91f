//! Algorithms of an input under way, of whatever kinds they are.

use std::{fmt::Debug, num::NonZeroU64};

use super::{
    composite::Composite,
    kernels::{InLanes, Kernel, Visitor},
};

/// An algorithm whose input is under way.
pub(super) trait Running: Debug + Send + Sync {
    /// Takes the input's next bytes.
    fn take(&mut self, piece: &[u8]);

    /// Its state, if others' may be advanced beside it.
    fn in_lanes(&mut self) -> Option<InLanes<'_>> {
        None
    }

    /// Takes the input's next bytes on all threads of the pool that this one belongs to.
    fn take_on_threads(&mut self, piece: &[u8]) {
        self.take(piece);
    }

    /// Ends the input and appends its digest to `out`.
    fn end_into(self: Box<Self>, out: &mut Vec<u8>);
}

/// Starts an algorithm.
pub(super) struct Start {
    pub(super) part_bytes: NonZeroU64,
}

impl Visitor for Start {
    type Output = Box<dyn Running>;

    fn plain<K: Kernel>(self) -> Box<dyn Running> {
        Box::new(Plain(K::start()))
    }

    fn composite<K: Kernel>(self) -> Box<dyn Running> {
        Box::new(Composite::<K>::new(self.part_bytes))
    }
}

#[derive(Debug)]
struct Plain<K>(K);

impl<K: Kernel> Running for Plain<K> {
    fn take(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    fn in_lanes(&mut self) -> Option<InLanes<'_>> {
        self.0.in_lanes()
    }

    fn take_on_threads(&mut self, piece: &[u8]) {
        self.0.update_on_threads(piece);
    }

    fn end_into(self: Box<Self>, out: &mut Vec<u8>) {
        self.0.finalize_into(out);
    }
}

impl<K: Kernel> Running for Composite<K> {
    fn take(&mut self, piece: &[u8]) {
        self.update(piece);
    }

    fn end_into(self: Box<Self>, out: &mut Vec<u8>) {
        self.finalize_into(out);
    }
}
