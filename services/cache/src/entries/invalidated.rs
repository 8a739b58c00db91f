//! What was invalidated, as every Cache service knows it: numbers that only grow, so that no clock has a say.
//!
//! Whoever reads an object asks for the generation before its first byte, and what it computes counts as long as nothing that
//! covers the object was invalidated under a higher number.

use std::{collections::HashMap, sync::RwLock, time::Duration};

use tokio::time::Instant;

/// Single objects that are remembered one by one, over all tenants; beyond it everything of their tenants before is forgotten.
const MAX_OBJECTS: usize = 100_000;
/// Prefixes that are remembered one by one, of one tenant.
const MAX_PREFIXES: usize = 256;
/// Who has not heard of the others for so long takes nothing from memory or Redis.
pub(crate) const DEAF_AFTER: Duration = Duration::from_secs(10);

/// One invalidation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Invalidation {
    pub(crate) generation: u64,
    /// Empty: every tenant's.
    pub(crate) tenant: String,
    pub(crate) uri: String,
    /// All URIs that begin with it.
    pub(crate) prefix: bool,
}

/// All that matters of them.
#[derive(Debug)]
pub(crate) struct Invalidated(RwLock<Known>);

#[derive(Debug)]
struct Known {
    latest: u64,
    heard_at: Instant,
    objects: usize,
    /// By tenant; the empty one's are everybody's.
    tenants: HashMap<String, OfTenant>,
}

#[derive(Debug, Default)]
struct OfTenant {
    /// The newest of all.
    latest: u64,
    /// Everything before was invalidated.
    all: u64,
    prefixes: Vec<(String, u64)>,
    objects: HashMap<String, u64>,
}

impl Invalidated {
    /// Nothing, up to this generation.
    pub(crate) fn new(latest: u64) -> Self {
        let known = Known { latest, heard_at: Instant::now(), objects: 0, tenants: HashMap::new() };
        Self(RwLock::new(known))
    }

    /// The newest that is known of.
    pub(crate) fn latest(&self) -> u64 {
        self.read().latest
    }

    /// Whether so much is known that what is in memory and Redis can be judged.
    pub(crate) fn hears(&self) -> bool {
        self.read().heard_at.elapsed() < DEAF_AFTER
    }

    /// All up to now were heard of.
    pub(crate) fn heard(&self) {
        self.write().heard_at = Instant::now();
    }

    /// Whatever was given out up to this generation is known.
    pub(crate) fn reach(&self, generation: u64) {
        let mut known = self.write();
        known.latest = known.latest.max(generation);
    }

    /// Notes one.
    pub(crate) fn note(&self, invalidation: Invalidation) {
        let mut known = self.write();
        let Invalidation { generation, tenant, uri, prefix } = invalidation;
        known.latest = known.latest.max(generation);
        if known.objects >= MAX_OBJECTS {
            // Costs readings, and no wrong answer.
            known.objects = 0;
            for of_tenant in known.tenants.values_mut() {
                let newest = of_tenant.objects.drain().map(|(_, generation)| generation).max();
                of_tenant.all = of_tenant.all.max(newest.unwrap_or(0));
            }
        }
        let of_tenant = known.tenants.entry(tenant).or_default();
        of_tenant.latest = of_tenant.latest.max(generation);
        let new_object = match (prefix, uri.is_empty()) {
            (true, true) => {
                of_tenant.all = of_tenant.all.max(generation);
                false
            }
            (true, false) => {
                of_tenant.note_prefix(uri, generation);
                false
            }
            (false, _) => {
                let noted = of_tenant.objects.insert(uri, generation);
                noted.is_none()
            }
        };
        known.objects += usize::from(new_object);
    }

    /// Judges entries of a tenant.
    pub(crate) fn judge<T>(&self, tenant: &str, judge: impl FnOnce(&dyn Fn(&str, u64) -> bool) -> T) -> T {
        let known = self.read();
        let of_all = known.tenants.get("");
        let own = known.tenants.get(tenant);
        judge(&|uri, generation| {
            let covers = |tenant: Option<&OfTenant>| tenant.is_some_and(|tenant| tenant.newest_of(uri) > generation);
            !covers(own) && !covers(of_all)
        })
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Known> {
        // No code panics while it holds the lock.
        self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Known> {
        self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl OfTenant {
    fn note_prefix(&mut self, uri: String, generation: u64) {
        if let Some((_, noted)) = self.prefixes.iter_mut().find(|(prefix, _)| *prefix == uri) {
            *noted = (*noted).max(generation);
            return;
        }
        if self.prefixes.len() >= MAX_PREFIXES {
            let newest = self.prefixes.drain(..).map(|(_, generation)| generation).max();
            self.all = self.all.max(newest.unwrap_or(0));
        }
        self.prefixes.push((uri, generation));
    }

    /// The newest invalidation that covers a URI; 0: none does.
    fn newest_of(&self, uri: &str) -> u64 {
        let object = self.objects.get(uri).copied().unwrap_or(0);
        let covering = self.prefixes.iter().filter(|(prefix, _)| uri.starts_with(prefix)).map(|(_, at)| *at).max();
        self.all.max(object).max(covering.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(known: &Invalidated, generation: u64, tenant: &str, uri: &str, prefix: bool) {
        let (tenant, uri) = (tenant.to_owned(), uri.to_owned());
        known.note(Invalidation { generation, tenant, uri, prefix });
    }

    fn valid(known: &Invalidated, tenant: &str, uri: &str, generation: u64) -> bool {
        known.judge(tenant, |judge| judge(uri, generation))
    }

    #[test]
    fn what_was_computed_before_an_invalidation_that_covers_it_does_not_count() {
        let known = Invalidated::new(0);
        note(&known, 1, "t", "s3://b/k", false);
        note(&known, 2, "t", "s3://b/p/", true);
        note(&known, 3, "", "s3://b/all", false);
        for (tenant, uri, newest) in [
            ("t", "s3://b/k", 1),
            ("t", "s3://b/k2", 0),
            ("t", "s3://b/p/x", 2),
            ("t", "s3://b/p", 0),
            ("s", "s3://b/p/x", 0),
            ("s", "s3://b/all", 3),
            ("t", "s3://b/all", 3),
        ] {
            assert!(valid(&known, tenant, uri, newest), "{tenant} {uri}");
            assert!(newest == 0 || !valid(&known, tenant, uri, newest - 1), "{tenant} {uri}");
        }
        assert_eq!(known.latest(), 3);
        note(&known, 9, "t", "", true);
        assert!(!valid(&known, "t", "anything", 8) && valid(&known, "t", "anything", 9));
        assert!(valid(&known, "s", "anything", 0));
    }

    #[test]
    fn of_too_many_all_before_the_newest_is_forgotten_and_never_too_little() {
        let known = Invalidated::new(0);
        for number in 0..MAX_OBJECTS as u64 {
            note(&known, number + 1, "t", &format!("s3://b/{number}"), false);
        }
        assert!(valid(&known, "t", "s3://b/other", 0));
        note(&known, 200_000, "t", "s3://b/last", false);
        assert!(!valid(&known, "t", "s3://b/other", 0) && valid(&known, "t", "s3://b/other", 100_000));
        assert!(!valid(&known, "t", "s3://b/last", 199_999));

        for number in 0..=MAX_PREFIXES as u64 {
            note(&known, 300_000 + number, "s", &format!("p{number}/"), true);
        }
        assert!(!valid(&known, "s", "q", 300_000) && valid(&known, "s", "q", 300_000 + MAX_PREFIXES as u64 - 1));
    }

    #[tokio::test(start_paused = true)]
    async fn who_hears_nothing_for_long_is_deaf() {
        let known = Invalidated::new(0);
        assert!(known.hears());
        tokio::time::advance(DEAF_AFTER).await;
        assert!(!known.hears());
        known.heard();
        assert!(known.hears());
    }
}
