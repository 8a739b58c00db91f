//! What a worker may read besides inline bytes.
//!
//! Nothing is read that it was not started with ([`AllowedSource`]), and nothing that the task's tenant may not name
//! ([`AllowedSources`]).
//!
//! - [`root`], [`file`], [`large`]: files, by blocking threads.
//! - [`remote`]: objects of hosts and buckets, by async tasks; [`uploads`]: likewise, of the mesh's own store.
//! - [`list`]: which objects a directory or bucket has.
//! - [`state`]: what tells that an object is still the same, for the cache.
//!
//! A root is a directory that the worker was started with. It is opened once; every file is opened *beneath* that
//! descriptor, so that neither `..` nor a symbolic link leads out of it, whatever happens to the tree meanwhile. Symbolic
//! links that are relative and stay below the root are followed.

mod error;
mod failure;
mod file;
mod large;
mod list;
mod remote;
mod root;
mod state;
mod uploads;

use std::fs::File;

use hashmesh::{
    cache::v1::ObjectState,
    tasks::{AllowedSource, AllowedSources, BucketRoot, Scheme, SiteRoot, file_path, path_names},
    v1::{ByteRange, ObjectIdentity, SourceRoot},
};
use hashmesh_hash::{HashPool, Recipe, SmallInputs};
use hashmesh_uploads::UploadStore;

#[cfg(test)]
pub(crate) use self::large::HELPED_FILE_BYTES;
pub use self::{
    error::SourcesError,
    remote::{RemoteSettings, S3Credentials, S3Settings},
};
pub(crate) use self::{
    failure::Failure,
    file::Progress,
    large::{Cancelled, LargeFile, ReadLarge, SIDE_BY_SIDE, read_side_by_side, read_with_help},
    list::list,
    remote::{READ_BYTES, Remote},
    state::Known,
};
use self::{
    root::{Below, Root},
    uploads::Uploads,
};

/// Everything that this worker may read.
#[derive(Debug)]
pub(crate) struct Sources {
    /// The longest paths first, so that the nearest of nested roots is found first.
    roots: Vec<Root>,
    remote: Option<Remote>,
    uploads: Option<Uploads>,
    announced: Vec<SourceRoot>,
    /// Its name in the cache.
    machine: Option<String>,
}

/// What is wanted of an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) uri: &'a [u8],
    /// `None`: all of it.
    pub(crate) range: Option<ByteRange>,
    pub(crate) algorithms: &'a Recipe,
    /// What the tenant may name. `None`: whatever may be read.
    pub(crate) allowed: Option<&'a AllowedSources>,
    /// What the cache knows of it. `None`: it is read.
    pub(crate) known: Option<&'a Known>,
    /// What it was when the mesh has listed it, just now.
    pub(crate) listed: Option<&'a ObjectIdentity>,
    /// What it was is wanted, too, to be kept.
    pub(crate) keeps: bool,
}

/// What was read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Read {
    /// 0 if its digests were taken from what is known.
    pub(crate) hashed_bytes: u64,
    pub(crate) identity: ObjectIdentity,
    /// What it was before and after it was read, if a change would show in it.
    pub(crate) state: Option<ObjectState>,
}

impl Read {
    /// Nothing: the object is the same that is known, whose digests these are.
    fn nothing(known: &Known, digests: &mut Vec<u8>) -> Self {
        digests.extend_from_slice(&known.digests);
        Self { hashed_bytes: 0, identity: known.identity(), state: None }
    }
}

/// What was found where a file is wanted.
#[derive(Debug)]
pub(crate) enum Found {
    /// The same that is known: its digests were appended.
    Known(Read),
    /// Its bytes are the last of the inputs.
    Small(Read),
    /// To be read by itself.
    Large(Box<LargeFile>),
}

/// What became of reading an object.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The task failed.
    Failed(Failure),
    /// The lease was cancelled: nobody wants to know.
    Cancelled,
}

impl From<Failure> for ReadError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Sources {
    /// Opens the roots. What comes over the network is hashed on `pool`.
    ///
    /// # Errors
    /// [`SourcesError`] for the first path that is no readable directory, and for settings that cannot work.
    pub(crate) fn open(
        allowed: &[AllowedSource],
        remote: &RemoteSettings,
        uploads: Option<UploadStore>,
        pool: HashPool,
        machine_id: Option<&str>,
    ) -> Result<Self, SourcesError> {
        let (mut roots, mut sites, mut buckets) = (Vec::new(), Vec::new(), Vec::new());
        let mut announced = Vec::new();
        for source in allowed {
            match source {
                AllowedSource::Directory(path) => roots.push(Root::open(path)?),
                AllowedSource::Site(site) => sites.push(site.clone()),
                AllowedSource::Bucket(bucket) => buckets.push(bucket.clone()),
            }
        }
        roots.sort_by_key(|root| std::cmp::Reverse(root.depth()));
        announced.extend(roots.iter().map(|root| root.announced().clone()));
        let prefixes = sites.iter().map(SiteRoot::uri_prefix).chain(buckets.iter().map(BucketRoot::uri_prefix));
        announced.extend(prefixes.map(|uri_prefix| SourceRoot { uri_prefix, device: 0, inode: 0 }));
        if uploads.is_some() {
            announced.push(SourceRoot { uri_prefix: uploads::ANNOUNCED.to_owned(), device: 0, inode: 0 });
        }
        let uploads = uploads.map(|store| Uploads::new(store, pool.clone(), remote.stall, remote.total));
        let nothing_remote = sites.is_empty() && buckets.is_empty();
        let remote = if nothing_remote { None } else { Some(Remote::new(sites, buckets, remote, pool)?) };
        Ok(Self { roots, remote, uploads, announced, machine: state::machine(machine_id) })
    }

    /// All of it as the queue is told.
    pub(crate) fn announced(&self) -> Vec<SourceRoot> {
        self.announced.clone()
    }

    /// Reads what is wanted of a host, a bucket or the mesh's own store, once, and appends its digests to `digests`. On an
    /// error `digests` is as it was.
    pub(crate) async fn digest_remote(
        &self,
        wanted: Wanted<'_>,
        digests: &mut Vec<u8>,
        progress: &(dyn Progress + Sync),
    ) -> Result<Read, ReadError> {
        self.not_of_the_store(wanted.uri)?;
        match (&self.uploads, &self.remote) {
            // Whose it is was checked where the task came in.
            (Some(uploads), _) if Scheme::of(wanted.uri) == Some(Scheme::Upload) => {
                uploads.digest(wanted, digests, progress).await
            }
            (_, Some(remote)) => remote.digest(wanted, digests, progress).await,
            _ => Err(ReadError::Failed(Failure::cannot_reach())),
        }
    }

    /// Opens what is wanted of a file and, if it is small, reads it behind the other inputs, which are then hashed together; or appends
    /// its digests to `digests` if they are known. On an error `inputs` and `digests` are as they were. `waits` is called before the disk
    /// is waited for.
    ///
    /// Blocks on the disk; not for async threads.
    pub(crate) fn read(
        &self,
        wanted: Wanted<'_>,
        inputs: &mut SmallInputs,
        digests: &mut Vec<u8>,
        progress: &dyn Progress,
        waits: &mut dyn FnMut(),
    ) -> Result<Found, ReadError> {
        self.not_of_the_store(wanted.uri)?;
        let file = self.open_file(&wanted)?;
        file::read_file(file, &wanted, inputs, digests, progress, waits)
    }

    /// Has the disk read a small file that will be read soon. Whatever is wrong with it, whoever reads it says.
    ///
    /// Blocks on the disk until it has found the file.
    pub(crate) fn ask_for(&self, wanted: &Wanted<'_>) {
        if self.not_of_the_store(wanted.uri).is_ok()
            && let Ok(file) = self.open_file(wanted)
        {
            file::ask_for(&file, wanted.range);
        }
    }

    fn open_file(&self, wanted: &Wanted<'_>) -> Result<File, Failure> {
        let path = file_path(wanted.uri).ok_or_else(Failure::cannot_reach)?;
        let (root, place) = self.place(&path, wanted.allowed)?;
        root.open_file(&place).map_err(|error| Failure::from_open(&error))
    }

    /// Refuses what belongs to the mesh's own store, other than by the URIs of uploads.
    fn not_of_the_store(&self, uri: &[u8]) -> Result<(), ReadError> {
        if self.uploads.as_ref().is_some_and(|uploads| uploads.hold(uri)) {
            return Err(ReadError::Failed(Failure::of_the_store()));
        }
        Ok(())
    }

    /// The root that a path lies below, and where: nothing leads out of what the tenant may name.
    fn place(&self, path: &[u8], allowed: Option<&AllowedSources>) -> Result<(&Root, Below), Failure> {
        let names = components(path)?;
        let within = match allowed {
            None => 0,
            Some(allowed) => allowed.directory_above(path).ok_or_else(Failure::not_the_tenants)?,
        };
        let found = self.roots.iter().find_map(|root| Some((root, root.below(&names, within)?)));
        found.ok_or_else(Failure::cannot_reach)
    }
}

/// True for what [`Sources::digest_remote`] reads.
pub(crate) fn is_remote(uri: &[u8]) -> bool {
    Scheme::of(uri).is_some_and(Scheme::is_remote)
}

/// The names of a path. `//` and `/./` mean nothing; `..` is refused, because what it means depends on symbolic links.
fn components(path: &[u8]) -> Result<Vec<&[u8]>, Failure> {
    let names: Vec<&[u8]> = path_names(path).collect();
    if names.contains(&b"..".as_slice()) {
        return Err(Failure::parent_in_path());
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
