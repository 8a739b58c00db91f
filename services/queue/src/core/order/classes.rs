//! Which workers may take which work, found out once and not at every lease.
//!
//! Workers that can do the same are of one *kind*. Work that the same kinds may take is of one *class*. There are few of
//! either: a mesh has a handful of sorts of workers, however many workers, directories and submissions.

use std::collections::{BTreeMap, HashMap};

use super::super::{AlgorithmSet, WorkerInfo};

/// Workers that can do the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::core) struct KindId(u32);

/// Work that the same kinds of workers may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::core) struct ClassId(u32);

/// Kinds without workers are remembered, so that a worker that reconnects finds its work in order; at most this many.
const MAX_IDLE_KINDS: usize = 64;

#[derive(Debug)]
struct Kind {
    /// Any worker of the kind.
    example: WorkerInfo,
    /// Connected ones that take leases.
    workers: usize,
}

/// All kinds, and all classes that follow from them.
#[derive(Debug, Default)]
pub(in crate::core) struct Classes {
    kinds: BTreeMap<KindId, Kind>,
    next_kind: u32,
    /// The kinds of each class, ascending.
    members: Vec<Vec<KindId>>,
    by_members: HashMap<Vec<KindId>, ClassId>,
}

impl Classes {
    /// A worker connected. Its kind, and whether that is new: then every class must be found out again.
    pub(in crate::core) fn connect(&mut self, info: &WorkerInfo) -> (KindId, bool) {
        let known = self.kinds.iter_mut().find(|(_, kind)| kind.example.same_kind(info));
        if let Some((id, kind)) = known {
            kind.workers += 1;
            return (*id, false);
        }
        if self.kinds.values().filter(|kind| kind.workers == 0).count() >= MAX_IDLE_KINDS {
            self.kinds.retain(|_, kind| kind.workers > 0);
        }
        let id = KindId(self.next_kind);
        self.next_kind += 1;
        self.kinds.insert(id, Kind { example: info.clone(), workers: 1 });
        self.members.clear();
        self.by_members.clear();
        (id, true)
    }

    /// A worker of this kind is gone, or takes no more leases.
    pub(in crate::core) fn disconnect(&mut self, kind: KindId) {
        if let Some(kind) = self.kinds.get_mut(&kind) {
            kind.workers = kind.workers.saturating_sub(1);
        }
    }

    /// The class of work with these algorithms and this common prefix of its URIs.
    pub(in crate::core) fn class_of(&mut self, algorithms: AlgorithmSet, reference_prefix: Option<&str>) -> ClassId {
        let may_take =
            |kind: &Kind| kind.example.algorithms.covers(algorithms) && kind.example.reaches(reference_prefix);
        let members: Vec<KindId> = self.kinds.iter().filter(|(_, kind)| may_take(kind)).map(|(id, _)| *id).collect();
        if let Some(id) = self.by_members.get(&members) {
            return *id;
        }
        let id = ClassId(u32::try_from(self.members.len()).unwrap_or(u32::MAX));
        self.members.push(members.clone());
        self.by_members.insert(members, id);
        id
    }

    /// True if workers of this kind may take work of this class.
    pub(in crate::core) fn takes(&self, class: ClassId, kind: KindId) -> bool {
        self.members.get(class.0 as usize).is_some_and(|members| members.binary_search(&kind).is_ok())
    }

    /// True if a worker is connected that may take work of this class.
    pub(in crate::core) fn reached(&self, class: ClassId) -> bool {
        let members = self.members.get(class.0 as usize).map_or(&[][..], Vec::as_slice);
        members.iter().any(|kind| self.kinds.get(kind).is_some_and(|kind| kind.workers > 0))
    }
}
