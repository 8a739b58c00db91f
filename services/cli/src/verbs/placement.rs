//! Whether a file's bytes travel with the task, or a worker reads the file itself.

use std::{
    ffi::OsString,
    fs, io,
    os::unix::{
        ffi::{OsStrExt as _, OsStringExt as _},
        fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
};

use clap::Args;
use hashmesh::{
    client::Client,
    limits::MAX_URI_BYTES,
    tasks::{AllowedSources, file_path, file_uri},
    v1::SourceRoot,
};

use super::{failure::Failure, large::LargeFiles, server::on_loopback};

/// How files reach the workers.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct PlacementArgs {
    /// Always let workers read the files, by absolute path. Without this it is done where it is sure to be the same file: the
    /// mesh is on this machine, and may read the directory.
    #[arg(long, conflicts_with = "inline")]
    by_reference: bool,
    /// Always send the files' bytes.
    #[arg(long)]
    inline: bool,
    /// Bring files to the mesh's own store that are too large to be sent with a task and that no worker can read. They stay
    /// there for the mesh's --upload-retention.
    #[arg(long, conflicts_with = "by_reference")]
    upload: bool,
}

/// Decides for each file.
#[derive(Debug)]
pub(super) struct Placement {
    mode: Mode,
    /// The directory that was asked for last, and what it is without links: files come directory by directory.
    last: Option<(PathBuf, PathBuf)>,
    /// Where files go that are too large, if they may.
    pub(super) large: Option<LargeFiles>,
}

#[derive(Debug)]
enum Mode {
    Inline,
    Always,
    Below {
        roots: Vec<Root>,
        /// What the caller may name below them. `None`: everything.
        allowed: Option<AllowedSources>,
    },
}

/// A directory that workers may read and that is the same here.
#[derive(Debug)]
struct Root {
    /// Here, without links.
    canonical: PathBuf,
    /// As the mesh names it.
    announced: PathBuf,
}

impl PlacementArgs {
    /// Asks the mesh what its workers may read, and compares each root's device and inode with what is here.
    pub(super) async fn probe(self, client: &Client) -> Result<Placement, Failure> {
        let mode = if self.by_reference {
            Mode::Always
        } else if self.inline || !on_loopback(client) {
            Mode::Inline
        } else {
            let capabilities = client.get_capabilities().await?;
            let roots = capabilities.sources.iter().filter_map(same_here).collect();
            Mode::Below { roots, allowed: capabilities.tenant_sources.as_ref().map(AllowedSources::of) }
        };
        let large = self.upload.then(|| LargeFiles::new(client));
        Ok(Placement { mode, last: None, large })
    }

    /// True if files may be uploaded, each time under another URI.
    pub(super) fn uploads(self) -> bool {
        self.upload
    }
}

/// The root, if this machine has the same directory under that name.
fn same_here(root: &SourceRoot) -> Option<Root> {
    let announced = PathBuf::from(OsString::from_vec(file_path(root.uri_prefix.as_bytes())?));
    let metadata = fs::metadata(&announced).ok()?;
    if (metadata.dev(), metadata.ino()) != (root.device, root.inode) {
        return None;
    }
    let canonical = fs::canonicalize(&announced).ok()?;
    Some(Root { canonical, announced })
}

impl Placement {
    /// The URI under which a worker may read the file; none if its bytes must be sent. `follow` says whether the last part of
    /// the path may be a symbolic link.
    pub(super) fn uri(&mut self, path: &Path, follow: bool) -> io::Result<Option<String>> {
        match &self.mode {
            Mode::Inline => return Ok(None),
            Mode::Below { roots, .. } if roots.is_empty() => return Ok(None),
            Mode::Below { .. } | Mode::Always => {}
        }
        let real = self.real_path(path, follow)?;
        let named = match &self.mode {
            Mode::Below { roots, .. } => roots.iter().find_map(|root| {
                let rest = real.strip_prefix(&root.canonical).ok()?;
                Some(root.announced.join(rest))
            }),
            Mode::Always | Mode::Inline => Some(real),
        };
        let uri = named.map(|path| file_uri(path.as_os_str().as_bytes()));
        let named = |uri: &String| match &self.mode {
            Mode::Below { allowed: Some(allowed), .. } => allowed.cover(uri.as_bytes()),
            _ => true,
        };
        Ok(uri.filter(|uri| uri.len() <= MAX_URI_BYTES && named(uri)))
    }

    /// The absolute path without links.
    fn real_path(&mut self, path: &Path, follow: bool) -> io::Result<PathBuf> {
        let (Some(name), false) = (path.file_name(), follow) else { return fs::canonicalize(path) };
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if let Some((last, real)) = &self.last
            && last == directory
        {
            return Ok(real.join(name));
        }
        let real = fs::canonicalize(directory)?;
        let path = real.join(name);
        self.last = Some((directory.to_owned(), real));
        Ok(path)
    }
}

/// What to do about a file that is too large to be sent, for people.
pub(super) fn remedy(path: &Path) -> String {
    let directory = fs::canonicalize(path).ok().and_then(|path| path.parent().map(Path::to_owned));
    let directory = directory.unwrap_or_else(|| PathBuf::from("DIR"));
    let shown = super::name::display(directory.as_os_str().as_bytes());
    format!(
        "say --upload to bring it to the mesh's own store, or let the mesh read it: start `hashmesh up` (or the workers) on this \
         machine with --allow-source '{shown}'"
    )
}

#[cfg(test)]
mod tests {
    use hashmesh::v1::TenantSources;

    use super::*;

    fn root_of(path: &Path) -> SourceRoot {
        let metadata = fs::metadata(path).unwrap();
        let uri_prefix = format!("{}/", file_uri(path.as_os_str().as_bytes()));
        SourceRoot { uri_prefix, device: metadata.dev(), inode: metadata.ino() }
    }

    #[test]
    fn a_file_below_a_root_that_is_the_same_here_is_named_as_the_mesh_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let real = fs::canonicalize(directory.path()).unwrap();
        fs::create_dir_all(real.join("root/sub")).unwrap();
        fs::write(real.join("root/sub/a b"), "").unwrap();
        fs::write(real.join("outside"), "").unwrap();
        std::os::unix::fs::symlink("root", real.join("alias")).unwrap();
        let root = same_here(&root_of(&real.join("alias"))).unwrap();
        let mode = Mode::Below { roots: vec![root], allowed: None };
        let mut placement = Placement { mode, last: None, large: None };

        let expected = file_uri(real.join("alias/sub/a b").as_os_str().as_bytes());
        for path in ["root/sub/a b", "alias/sub/a b", "alias/../root/./sub/a b"] {
            assert_eq!(placement.uri(&real.join(path), false).unwrap().as_ref(), Some(&expected), "{path}");
        }
        assert_eq!(placement.uri(&real.join("outside"), false).unwrap(), None);

        // What the caller may not name is sent instead.
        for (below, named) in [("alias/sub", true), ("alias/other", false)] {
            let uri_prefixes = vec![format!("{}/", file_uri(real.join(below).as_os_str().as_bytes()))];
            let root = same_here(&root_of(&real.join("alias"))).unwrap();
            let allowed = Some(AllowedSources::of(&TenantSources { uri_prefixes }));
            let mut placement = Placement { mode: Mode::Below { roots: vec![root], allowed }, last: None, large: None };
            assert_eq!(placement.uri(&real.join("root/sub/a b"), false).unwrap().is_some(), named, "{below}");
        }
    }

    #[test]
    fn a_root_that_is_another_directory_here_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let root = root_of(directory.path());
        assert!(same_here(&root).is_some());
        assert!(same_here(&SourceRoot { inode: root.inode + 1, ..root.clone() }).is_none());
        assert!(same_here(&SourceRoot { uri_prefix: "file:///does/not/exist/".into(), ..root }).is_none());
    }
}
