//! How an engine comes to be, whoever answers its questions and commits what it decides.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use super::{
    controls::Heard,
    expansions::Expansions,
    lanes::Lanes,
    moves::SharedShards,
    payload::PayloadCache,
    publish::Published,
    quota::{Quotas, UsageRow},
    recent::RecentTurns,
    run::Engine,
    tables::Tables,
    traces::LeaseSpans,
};
use crate::{
    behind::Behind,
    clock,
    core::{Core, CoreConfig},
    measures::Measures,
    mutant::{self, Mutant},
    phases::Phases,
    rates::Rates,
    shard::IdMint,
    store::Ownership,
    wall::WallTime,
};

/// What an engine is made of.
#[derive(Debug)]
pub(super) struct EngineParts {
    pub(super) core: CoreConfig,
    pub(super) tables: Box<dyn Tables>,
    pub(super) ownership: Arc<Ownership>,
    pub(super) shards: SharedShards,
    pub(super) lanes: Lanes,
    pub(super) behind: Behind,
    pub(super) measures: Arc<Measures>,
    pub(super) payload_bytes: usize,
    pub(super) recent_bytes: usize,
}

impl Engine {
    /// An engine that knows nothing yet.
    pub(super) fn new(parts: EngineParts) -> Self {
        let EngineParts { core, tables, ownership, shards, lanes, behind, measures, payload_bytes, recent_bytes } =
            parts;
        let core = CoreConfig { honours_expired: mutant::active(Mutant::DropLeaseCheck), ..core };
        Self {
            core: Core::new(core),
            tables,
            ownership,
            live: HashMap::new(),
            keys: HashMap::new(),
            expansions: Expansions::default(),
            payloads: PayloadCache::new(payload_bytes),
            loads: VecDeque::new(),
            loading: false,
            unread: HashMap::new(),
            to_read: VecDeque::new(),
            reading: 0,
            workers: BTreeMap::new(),
            drained: BTreeSet::new(),
            mint: IdMint::default(),
            recent: RecentTurns::new(recent_bytes),
            quotas: Quotas::default(),
            sources: BTreeMap::new(),
            lease_spans: LeaseSpans::default(),
            published: Published::new(measures),
            heard: Heard::default(),
            shards,
            coming: None,
            leaving: None,
            last_words: Vec::new(),
            lanes,
            behind,
            ahead: Vec::new(),
            rates: Rates::default(),
            phases: Phases::default(),
            started: clock::instant(),
        }
    }

    /// Learns what its process has counted before. It owns no shard yet.
    pub(super) fn begin(&mut self, usage: Vec<UsageRow>) {
        self.core.clock(WallTime::now());
        self.quotas.recover(WallTime::now(), usage);
    }
}
