//! What an object is by everything that its source says of it, and how it is named in the cache.
//!
//! A digest is taken from the cache only while this is the same to the last bit; so whatever may stay the same while the bytes
//! change must not be told as a state at all.

use std::{
    fs::{self, File, Metadata},
    os::unix::fs::MetadataExt as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use hashmesh::{
    cache::v1::{CachedObject, FileState, ObjectState},
    tasks::{Scheme, canonical_uri},
    v1::{ByteRange, ObjectIdentity},
};
use rustix::fs::{fstatfs, fstatvfs};

use super::{Sources, file};

/// Whoever changes an object twice within this time may leave no trace of the second change: the clocks of file systems tick
/// every few milliseconds, those of web servers every second.
pub(crate) const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// Where `http:` and `https:` URIs mean what they mean: everywhere.
const WEB: &str = "web";

/// File systems whose times come from this machine's own clock, to the nanosecond or to its tick: ext2 to ext4, XFS, Btrfs,
/// tmpfs, ZFS, F2FS, bcachefs, overlayfs. Others (NFS, SMB, FUSE, FAT) may have times of another clock, or of whole seconds, or
/// tell what they remember.
const OWN_CLOCK: [i64; 8] =
    [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994, 0x2FC1_2FC1, 0xF2F5_2010, 0xCA45_1A4E, 0x794C_7630];

/// What the cache knows of an object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Known {
    pub(crate) state: ObjectState,
    /// A digest per algorithm, concatenated.
    pub(crate) digests: Bytes,
}

impl Known {
    /// Its identity, for an outcome whose digests are taken from here.
    pub(super) fn identity(&self) -> ObjectIdentity {
        ObjectIdentity { cached: true, ..self.state.identity.clone().unwrap_or_default() }
    }

    /// The entity tag under which a host is asked whether the object is still the same.
    pub(super) fn strong_etag(&self) -> Option<&str> {
        self.state.identity.as_ref().map(|identity| identity.etag.as_str()).filter(|etag| is_strong(etag))
    }

    /// Whether a listing shows the same object.
    pub(super) fn is_listed(&self, listed: &ObjectIdentity) -> bool {
        let Some(ours) = &self.state.identity else { return false };
        // Listings tell milliseconds, answers whole seconds.
        let seconds = |identity: &ObjectIdentity| identity.modify_time.as_ref().map(|time| time.seconds);
        is_strong(&listed.etag)
            && ours.etag == listed.etag
            && ours.size == listed.size
            && seconds(ours) == seconds(listed)
    }
}

/// A weak entity tag, or none, may stay while bytes change.
fn is_strong(etag: &str) -> bool {
    etag.starts_with('"')
}

/// The name of this machine in the cache. What another machine has at the same path is another file.
pub(super) fn machine(given: Option<&str>) -> Option<String> {
    let read = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let known = |text: &String| !text.is_empty() && text != "uninitialized";
    let id = given.map(str::to_owned);
    // A container without an id of its own is another one after each start.
    let id = id.or_else(|| read("/etc/machine-id").filter(known));
    let id = id.or_else(|| read("/proc/sys/kernel/random/boot_id").filter(known));
    id.map(|id| format!("machine {id}"))
}

impl Sources {
    /// How an object is named in the cache. `None`: it has no name there.
    pub(crate) fn cached_object(&self, uri: &[u8], range: Option<ByteRange>) -> Option<CachedObject> {
        let domain = match Scheme::of(uri)? {
            Scheme::File => self.machine.clone()?,
            Scheme::S3 => self.remote.as_ref()?.store().to_owned(),
            Scheme::Http | Scheme::Https => WEB.to_owned(),
            // The mesh's own store is near.
            Scheme::Upload => return None,
        };
        Some(CachedObject { domain, uri: canonical_uri(uri)?, range })
    }
}

/// What a file is, if a change of its bytes from now on is sure to show in it.
pub(super) fn of_file(file: &File, metadata: &Metadata, now: SystemTime) -> Option<ObjectState> {
    let system = fstatfs(file).ok()?;
    // On some machines a narrower number.
    #[allow(clippy::useless_conversion)]
    let kind = i64::try_from(system.f_type).ok()?;
    if !OWN_CLOCK.contains(&(kind & 0xFFFF_FFFF)) {
        return None;
    }
    let change_time_ns = nanos(metadata.ctime(), metadata.ctime_nsec())?;
    let now = i64::try_from(now.duration_since(UNIX_EPOCH).ok()?.as_nanos()).ok()?;
    if !settled(change_time_ns, now) {
        return None;
    }
    let file_system = fstatvfs(file).ok().map(|system| system.f_fsid).filter(|id| *id != 0);
    let birth = metadata.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let file = FileState {
        file_system: file_system.unwrap_or_else(|| metadata.dev()),
        inode: metadata.ino(),
        change_time_ns,
        birth_time_ns: birth.and_then(|time| i64::try_from(time.as_nanos()).ok()).unwrap_or(0),
    };
    Some(ObjectState { identity: Some(file::identity(metadata)), file: Some(file) })
}

/// What was changed lately, or in the future: a clock was set back, and will tell the same times again.
fn settled(change_time_ns: i64, now_ns: i64) -> bool {
    // Below a minute.
    change_time_ns.checked_add(SETTLED_AFTER.as_nanos() as i64).is_some_and(|settled| settled <= now_ns)
}

fn nanos(seconds: i64, nanos: i64) -> Option<i64> {
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
}

/// What an object of a host or store is, if a change of its bytes is sure to show in it. `answered_at` is the host's time.
pub(super) fn of_object(identity: &ObjectIdentity, answered_at: SystemTime) -> Option<ObjectState> {
    if !is_strong(&identity.etag) {
        return None;
    }
    if let Some(time) = identity.modify_time {
        // Some make their tags of this time, which is of whole seconds.
        let modified = SystemTime::try_from(time).ok()?;
        if answered_at.duration_since(modified).ok()? < SETTLED_AFTER {
            return None;
        }
    }
    Some(ObjectState { identity: Some(ObjectIdentity { cached: false, ..identity.clone() }), file: None })
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;

    fn identity(etag: &str, seconds: Option<i64>) -> ObjectIdentity {
        let modify_time = seconds.map(|seconds| Timestamp { seconds, nanos: 0 });
        ObjectIdentity { size: 3, etag: etag.to_owned(), modify_time, ..ObjectIdentity::default() }
    }

    #[test]
    fn what_was_changed_within_two_seconds_or_in_the_future_is_not_settled() {
        let two = 2_000_000_000;
        assert!(settled(5, 5 + two) && !settled(5, 4 + two) && !settled(two, 0) && !settled(i64::MAX, i64::MAX));
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        for (modified, answered, kept) in [(100, 102, true), (100, 101, false), (100, 100, false), (100, 50, false)] {
            assert_eq!(of_object(&identity("\"a\"", Some(modified)), at(answered)).is_some(), kept, "{answered}");
        }
    }

    #[test]
    fn only_a_strong_entity_tag_tells_that_an_object_is_the_same() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        for (etag, kept) in [("\"a\"", true), ("W/\"a\"", false), ("", false), ("a", false)] {
            assert_eq!(of_object(&identity(etag, Some(1)), now).is_some(), kept, "{etag}");
            assert_eq!(of_object(&identity(etag, None), now).is_some(), kept, "{etag}");
        }
    }

    #[test]
    fn a_listing_shows_the_same_object_by_tag_size_and_second() {
        let state = ObjectState { identity: Some(identity("\"a\"", Some(7))), file: None };
        let known = Known { state, digests: Bytes::new() };
        let listed = identity("\"a\"", Some(7));
        assert!(known.is_listed(&listed));
        let half = Timestamp { seconds: 7, nanos: 500_000_000 };
        assert!(known.is_listed(&ObjectIdentity { modify_time: Some(half), ..listed.clone() }));
        for other in [
            ObjectIdentity { size: 4, ..listed.clone() },
            ObjectIdentity { etag: "\"b\"".to_owned(), ..listed.clone() },
            ObjectIdentity { etag: "W/\"a\"".to_owned(), ..listed.clone() },
            identity("\"a\"", Some(8)),
            identity("\"a\"", None),
        ] {
            assert!(!known.is_listed(&other), "{other:?}");
        }
    }

    #[test]
    fn a_machine_has_a_name_that_can_be_given() {
        assert_eq!(machine(Some("a")).as_deref(), Some("machine a"));
        assert!(machine(None).is_some_and(|name| name.len() > "machine ".len()));
    }

    #[test]
    fn a_files_state_changes_with_its_bytes_even_if_its_time_is_put_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let long_ago = SystemTime::now() - Duration::from_secs(3_600);
        let write = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
        };
        let state = |now: SystemTime| {
            let file = File::open(&path).unwrap();
            of_file(&file, &file.metadata().unwrap(), now)
        };
        write(b"one");
        assert_eq!(state(SystemTime::now()), None, "the time of change cannot be put back");
        assert_eq!(state(long_ago), None, "the clock was");
        let later = SystemTime::now() + Duration::from_secs(3_600);
        let before = state(later).unwrap();
        assert_eq!(state(later).as_ref(), Some(&before));
        write(b"two");
        let after = state(later).unwrap();
        assert_eq!(before.identity, after.identity, "size and time of modification say nothing");
        assert_ne!(before.file, after.file);

        // Another file of that name, size and time; perhaps with the same inode.
        fs::remove_file(&path).unwrap();
        write(b"two");
        assert_ne!(state(later).unwrap().file, after.file);
    }

    #[test]
    fn files_of_the_kernels_own_making_have_no_state() {
        let file = File::open("/proc/self/status").unwrap();
        let later = SystemTime::now() + Duration::from_secs(3_600);
        assert_eq!(of_file(&file, &file.metadata().unwrap(), later), None);
    }
}
