//! As whom Postgres runs, and whether that user can reach its files. Postgres refuses to run as root.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, chown},
    path::{Path, PathBuf},
};

use thiserror::Error;

/// Started as root, Postgres runs as this user: it exists everywhere and owns nothing else of worth.
const UNPRIVILEGED_USER: &str = "nobody";
/// What `nobody` is on Linux where no user list says otherwise.
const NOBODY_ID: u32 = 65_534;

/// A user and its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// A directory that Postgres' user may not pass.
#[derive(Debug, Error)]
#[error(
    "{} cannot be reached by {user}, as whom Postgres runs because it refuses to run as root: \
     {} does not let others pass; run `chmod o+x {}`, or choose another directory",
    wanted.display(), barrier.display(), barrier.display()
)]
pub(crate) struct Unreachable {
    wanted: PathBuf,
    /// The first directory on the way that bars it.
    barrier: PathBuf,
    user: String,
}

impl Owner {
    /// As whom Postgres must run; `None`: as ourselves.
    ///
    /// A cluster that another user owns already stays with that user.
    pub(crate) fn of_cluster(cluster: &Path) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        match fs::metadata(cluster) {
            Ok(metadata) if metadata.uid() != 0 => Some(Self { uid: metadata.uid(), gid: metadata.gid() }),
            _ => Some(Self::unprivileged()),
        }
    }

    fn unprivileged() -> Self {
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        find_user(&users, UNPRIVILEGED_USER).unwrap_or(Self { uid: NOBODY_ID, gid: NOBODY_ID })
    }

    /// Gives a file or directory to this user.
    pub(crate) fn take(self, path: &Path) -> io::Result<()> {
        chown(path, Some(self.uid), Some(self.gid))
    }

    /// Checks that this user can pass every directory down to and including `directory`.
    pub(crate) fn reaches(self, directory: &Path) -> Result<(), Unreachable> {
        let mut way: Vec<&Path> = directory.ancestors().collect();
        way.reverse();
        // What does not exist is somebody else's error.
        let barred = |path: &&Path| fs::metadata(path).is_ok_and(|metadata| !self.may_pass(&metadata));
        match way.into_iter().find(barred) {
            None => Ok(()),
            Some(barrier) => Err(Unreachable {
                wanted: directory.into(),
                barrier: barrier.into(),
                user: format!("user {} (uid {})", UNPRIVILEGED_USER, self.uid),
            }),
        }
    }

    /// By the mode bits of a directory; Postgres is started without supplementary groups.
    fn may_pass(self, metadata: &fs::Metadata) -> bool {
        let execute = if metadata.uid() == self.uid {
            0o100
        } else if metadata.gid() == self.gid {
            0o010
        } else {
            0o001
        };
        metadata.mode() & execute != 0
    }
}

fn find_user(users: &str, name: &str) -> Option<Owner> {
    users.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [user, _, uid, gid, ..] = fields[..] else { return None };
        (user == name).then_some(())?;
        Some(Owner { uid: uid.parse().ok()?, gid: gid.parse().ok()? })
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let users =
            "root:x:0:0:root:/root:/bin/bash\nnobody2:x:7:7::/:\nnobody:x:65534:65533::/nonexistent:/bin/false\n";
        assert_eq!(find_user(users, "nobody"), Some(Owner { uid: 65_534, gid: 65_533 }));
        assert_eq!(find_user(users, "no"), None);
    }

    #[test]
    fn the_first_directory_that_bars_the_way_is_named() {
        let root = tempfile::tempdir_in("/tmp").unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let closed = root.path().join("closed");
        let inner = closed.join("inner");
        fs::create_dir_all(&inner).unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();

        let stranger = Owner { uid: 54_321, gid: 54_321 };
        let error = stranger.reaches(&inner).unwrap_err();
        assert_eq!(error.barrier, closed);
        assert!(error.to_string().contains(&format!("chmod o+x {}", closed.display())), "{error}");
        stranger.reaches(root.path()).unwrap();
    }
}
