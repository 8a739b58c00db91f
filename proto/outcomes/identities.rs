//! What objects were when they were read, as columns and as rows.

use prost_types::Timestamp;

use super::cut::Passed;
use crate::v1::{ObjectIdentity, PackedIdentities, PackedNames};

const NANOS: i64 = 1_000_000_000;

/// Makes columns of identities, one task after another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentitiesBuilder {
    tasks: usize,
    /// Something is known of one of them.
    known: bool,
    sizes: Vec<u64>,
    modify_times: Vec<i64>,
    etags: Texts,
    versions: Texts,
    cached: Vec<u8>,
}

/// A column of texts; empty as long as all of them are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Texts {
    data: Vec<u8>,
    lengths: Vec<u32>,
}

impl IdentitiesBuilder {
    /// Nothing is known of so many tasks.
    #[must_use]
    pub fn unknown(tasks: usize) -> Self {
        Self { tasks, ..Self::default() }
    }

    /// Only sizes are known, one per task.
    #[must_use]
    pub fn of_sizes(sizes: impl Iterator<Item = u64>) -> Self {
        let sizes: Vec<u64> = sizes.collect();
        Self { tasks: sizes.len(), known: true, sizes, ..Self::default() }
    }

    /// The next task's, if anything is known of its input.
    pub fn push(&mut self, identity: Option<&ObjectIdentity>) {
        let tasks = self.tasks;
        self.tasks += 1;
        let Some(identity) = identity else { return };
        self.known = true;
        put(&mut self.sizes, tasks, identity.size);
        put(&mut self.modify_times, tasks, identity.modify_time.as_ref().map_or(0, to_nanos));
        self.etags.put(tasks, &identity.etag);
        self.versions.put(tasks, &identity.version);
        put(&mut self.cached, tasks, u8::from(identity.cached));
    }

    /// About what they take up in a frame.
    #[must_use]
    pub fn frame_bytes(&self) -> usize {
        let texts = |texts: &Texts| texts.data.len() + 2 * texts.lengths.len();
        let numbers = 4 * self.sizes.len() + 8 * self.modify_times.len() + self.cached.len();
        numbers + texts(&self.etags) + texts(&self.versions)
    }

    /// Appends those of the tasks that come next.
    pub fn append(&mut self, next: &Self) {
        let tasks = self.tasks;
        self.tasks += next.tasks;
        self.known |= next.known;
        append(&mut self.sizes, tasks, &next.sizes);
        append(&mut self.modify_times, tasks, &next.modify_times);
        append(&mut self.cached, tasks, &next.cached);
        for (ours, theirs) in [(&mut self.etags, &next.etags), (&mut self.versions, &next.versions)] {
            append(&mut ours.lengths, tasks, &theirs.lengths);
            ours.data.extend_from_slice(&theirs.data);
        }
    }

    /// The columns. None if nothing is known of any.
    #[must_use]
    pub fn finish(mut self) -> Option<PackedIdentities> {
        if !self.known {
            return None;
        }
        self.sizes.resize(self.tasks, 0);
        if !self.modify_times.is_empty() {
            self.modify_times.resize(self.tasks, 0);
        }
        if !self.cached.is_empty() {
            self.cached.resize(self.tasks, 0);
        }
        let etags = std::mem::take(&mut self.etags).finish(self.tasks);
        let versions = std::mem::take(&mut self.versions).finish(self.tasks);
        let Self { sizes, modify_times, cached, .. } = self;
        Some(PackedIdentities { sizes, modify_times, etags, versions, cached: cached.into() })
    }
}

impl Texts {
    fn put(&mut self, place: usize, text: &str) {
        // Texts come from headers, which are far shorter than 4 GiB.
        put(&mut self.lengths, place, text.len() as u32);
        self.data.extend_from_slice(text.as_bytes());
    }

    fn finish(mut self, tasks: usize) -> Option<PackedNames> {
        if self.lengths.is_empty() {
            return None;
        }
        self.lengths.resize(tasks, 0);
        Some(PackedNames { data: self.data.into(), lengths: self.lengths })
    }
}

/// Puts a value that is not the usual one at its place; all before it that are not there are the usual one.
fn put<T: Copy + Default + PartialEq>(column: &mut Vec<T>, place: usize, value: T) {
    if value != T::default() || !column.is_empty() {
        column.resize(place, T::default());
        column.push(value);
    }
}

fn append<T: Copy + Default>(column: &mut Vec<T>, place: usize, next: &[T]) {
    if !next.is_empty() {
        column.resize(place, T::default());
        column.extend_from_slice(next);
    }
}

impl PackedIdentities {
    /// True if every column that is there has a value for each of `tasks` tasks.
    #[must_use]
    pub fn fits(&self, tasks: usize) -> bool {
        let texts = |column: &Option<PackedNames>| {
            column.as_ref().is_none_or(|texts| {
                texts.lengths.len() == tasks && crate::tasks::names_bytes(&texts.lengths) == texts.data.len()
            })
        };
        self.sizes.len() == tasks
            && (self.modify_times.is_empty() || self.modify_times.len() == tasks)
            && (self.cached.is_empty() || self.cached.len() == tasks)
            && texts(&self.etags)
            && texts(&self.versions)
    }

    /// What they occupy in memory and on the wire, roughly.
    #[must_use]
    pub fn weight(&self) -> usize {
        let texts = |column: &Option<PackedNames>| {
            column.as_ref().map_or(0, |texts| texts.data.len() + 4 * texts.lengths.len())
        };
        let numbers = 8 * (self.sizes.len() + self.modify_times.len()) + self.cached.len();
        numbers + texts(&self.etags) + texts(&self.versions)
    }

    /// Those of the `count` tasks from `first` on.
    #[must_use]
    pub fn slice(&self, first: usize, count: usize) -> Self {
        IdentitiesCutter::default().cut(self, first, count)
    }

    /// How many of the digests were taken from the cache.
    #[must_use]
    pub fn cached_tasks(&self) -> usize {
        self.cached.iter().filter(|cached| **cached != 0).count()
    }

    /// As rows, one per task.
    pub fn rows(&self) -> impl Iterator<Item = ObjectIdentity> {
        let text = |column: &Option<PackedNames>| {
            let texts: Vec<String> = column
                .iter()
                .flat_map(PackedNames::iter)
                .map(|text| String::from_utf8_lossy(&text).into_owned())
                .collect();
            texts.into_iter()
        };
        let (mut etags, mut versions) = (text(&self.etags), text(&self.versions));
        let (mut times, mut cached) = (self.modify_times.iter(), self.cached.iter());
        self.sizes.iter().map(move |size| ObjectIdentity {
            size: *size,
            etag: etags.next().unwrap_or_default(),
            version: versions.next().unwrap_or_default(),
            modify_time: times.next().filter(|nanos| **nanos != 0).map(|nanos| from_nanos(*nanos)),
            cached: cached.next().is_some_and(|cached| *cached != 0),
        })
    }
}

/// Cuts ranges out of identities in ascending order.
#[derive(Debug, Default)]
pub(crate) struct IdentitiesCutter {
    etags: Passed,
    versions: Passed,
}

impl IdentitiesCutter {
    /// Those of the `count` tasks from `first` on, which is not before the first of the last cut.
    pub(crate) fn cut(&mut self, whole: &PackedIdentities, first: usize, count: usize) -> PackedIdentities {
        PackedIdentities {
            sizes: part(&whole.sizes, first, count),
            modify_times: part(&whole.modify_times, first, count),
            etags: whole.etags.as_ref().map(|etags| self.etags.cut(etags, first, count)),
            versions: whole.versions.as_ref().map(|versions| self.versions.cut(versions, first, count)),
            cached: part(&whole.cached, first, count).into(),
        }
    }
}

fn part<T: Copy>(column: &[T], first: usize, count: usize) -> Vec<T> {
    let first = first.min(column.len());
    column[first..first.saturating_add(count).min(column.len())].to_vec()
}

/// Nanoseconds since 1970; the years 1677 to 2262 fit.
fn to_nanos(time: &Timestamp) -> i64 {
    time.seconds.saturating_mul(NANOS).saturating_add(time.nanos.into())
}

fn from_nanos(nanos: i64) -> Timestamp {
    // Below a thousand million.
    Timestamp { seconds: nanos.div_euclid(NANOS), nanos: nanos.rem_euclid(NANOS) as i32 }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::*};

    use super::*;

    fn identity() -> impl Strategy<Value = ObjectIdentity> {
        let time = option::of((-5_i64..5, 0..1_000_000_000_i32))
            .prop_map(|time| time.map(|(seconds, nanos)| Timestamp { seconds, nanos }));
        (0..3_u64, "[a-c]{0,2}", "[a-c]{0,2}", time, any::<bool>()).prop_map(
            |(size, etag, version, modify_time, cached)| {
                // 1970 itself is told from nothing nowhere.
                let modify_time = modify_time.filter(|time| *time != Timestamp::default());
                ObjectIdentity { size, etag, version, modify_time, cached }
            },
        )
    }

    fn built(identities: &[Option<ObjectIdentity>]) -> IdentitiesBuilder {
        let mut builder = IdentitiesBuilder::default();
        identities.iter().for_each(|identity| builder.push(identity.as_ref()));
        builder
    }

    fn rows(columns: Option<PackedIdentities>, tasks: usize) -> Vec<ObjectIdentity> {
        let Some(columns) = columns else { return vec![ObjectIdentity::default(); tasks] };
        assert!(columns.fits(tasks));
        columns.rows().collect()
    }

    proptest! {
        #[test]
        fn what_is_put_in_comes_out_whatever_is_missing(
            one in vec(option::of(identity()), 0..6),
            other in vec(option::of(identity()), 0..6),
            first in 0..14_usize,
            count in 0..14_usize,
        ) {
            let mut builder = built(&one);
            builder.append(&built(&other));
            let all: Vec<_> = one.iter().chain(&other).cloned().map(Option::unwrap_or_default).collect();
            let columns = builder.finish();
            prop_assert_eq!(rows(columns.clone(), all.len()), all.clone());
            let wanted: Vec<_> = all.into_iter().skip(first).take(count).collect();
            prop_assert_eq!(rows(columns.map(|columns| columns.slice(first, count)), wanted.len()), wanted);
        }
    }

    #[test]
    fn columns_that_say_nothing_are_left_out() {
        assert_eq!(built(&[None, None]).finish(), None);
        let empty = built(&[Some(ObjectIdentity::default())]).finish().unwrap();
        assert_eq!(empty, PackedIdentities { sizes: vec![0], ..PackedIdentities::default() });
        let sized = ObjectIdentity { size: 3, ..ObjectIdentity::default() };
        let columns = built(&[None, Some(sized), None]).finish().unwrap();
        assert_eq!(columns, PackedIdentities { sizes: vec![0, 3, 0], ..PackedIdentities::default() });
        assert!(columns.fits(3) && !columns.fits(2));
    }
}
