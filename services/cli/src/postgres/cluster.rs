//! A cluster on disk: made if it is not there yet, checked if it is.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

use super::{
    access::{Access, USER_AND_DATABASE, write_private},
    binaries::{Binaries, DEFAULT_MAJOR},
    owner::Owner,
    settings::configuration,
};

/// The file of a cluster that holds what [`configuration`] says.
const OUR_SETTINGS: &str = "hashmesh.conf";

/// What a cluster is made from.
#[derive(Debug)]
pub(crate) struct ClusterConfig {
    /// Holds the cluster and what belongs to it. Must exist, reachable and locked by us.
    pub(crate) data_dir: PathBuf,
    /// A directory with PostgreSQL's programs; without it they are downloaded.
    pub(crate) postgres_bin: Option<PathBuf>,
    /// Where downloaded programs are kept, for all data directories.
    pub(crate) cache: PathBuf,
    /// What this machine, or our cgroup, has.
    pub(crate) memory_bytes: u64,
}

/// A cluster that can be started.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(super) data_dir: PathBuf,
    /// PGDATA.
    pub(super) data: PathBuf,
    pub(super) access: Access,
    pub(super) owner: Option<Owner>,
    pub(super) binaries: Binaries,
}

impl Cluster {
    /// Where the cluster of a data directory is.
    pub(crate) fn directory(data_dir: &Path) -> PathBuf {
        data_dir.join("postgres")
    }

    /// Finds the programs, and makes the cluster unless it is there.
    pub(crate) async fn prepare(config: ClusterConfig) -> Result<Self> {
        let data = Self::directory(&config.data_dir);
        let found = match fs::read_to_string(data.join("PG_VERSION")) {
            Ok(text) => {
                let major = text.trim().parse::<u32>();
                Some(major.with_context(|| format!("{} holds no PostgreSQL cluster that we know", data.display()))?)
            }
            Err(_) => None,
        };
        let wanted = found.unwrap_or(DEFAULT_MAJOR);
        let binaries = Binaries::find(config.postgres_bin.as_deref(), &config.cache, wanted).await?;
        if let Some(major) = found.filter(|major| *major != binaries.major) {
            bail!(
                "{} is a cluster of PostgreSQL {major}, but {} is PostgreSQL {}; name the right programs by --postgres-bin, \
                 or use another --data-dir",
                data.display(),
                binaries.bin.display(),
                binaries.version
            );
        }
        let owner = Owner::of_cluster(&data);
        if let Some(owner) = owner {
            owner.reaches(&binaries.bin)?;
        }
        let access = match (Access::read(&config.data_dir)?, found) {
            (Some(access), _) => access,
            (None, None) => Access::new()?,
            (None, Some(_)) => bail!(
                "{} holds a cluster, but the file postgres.json beside it, with its password, is gone; \
                 restore it, or use another --data-dir",
                config.data_dir.display()
            ),
        };
        let cluster = Self { data_dir: config.data_dir, data, access, owner, binaries };
        // Blocking, but nothing else runs yet.
        tokio::task::spawn_blocking(move || {
            cluster.access.write(&cluster.data_dir)?;
            if found.is_none() {
                cluster.initialise()?;
            }
            cluster.write_settings(&cluster.data, config.memory_bytes)?;
            Ok(cluster)
        })
        .await?
    }

    /// Makes the cluster aside and renames it into place, so that a crash on the way leaves none, or a whole one.
    fn initialise(&self) -> Result<()> {
        ensure!(
            !self.data.exists(),
            "{} exists but is no PostgreSQL cluster; move it away, or use another --data-dir",
            self.data.display()
        );
        tracing::info!(directory = %self.data.display(), version = self.binaries.version, "making a PostgreSQL cluster");
        let aside = self.data_dir.join("postgres.unfinished");
        if aside.exists() {
            fs::remove_dir_all(&aside).with_context(|| format!("cannot remove {}", aside.display()))?;
        }
        fs::create_dir(&aside).with_context(|| format!("cannot make {}", aside.display()))?;
        let password_file = self.data_dir.join("postgres.password");
        write_private(&password_file, self.access.password.as_bytes())?;
        if let Some(owner) = self.owner {
            owner.take(&aside)?;
            owner.take(&password_file)?;
        }

        let made = self.initdb(&aside, &password_file);
        fs::remove_file(&password_file)?;
        made?;
        self.create_database(&aside)?;
        fs::rename(&aside, &self.data).with_context(|| format!("cannot make {}", self.data.display()))?;
        fs::File::open(&self.data_dir)?.sync_all()?;
        Ok(())
    }

    fn initdb(&self, data: &Path, password_file: &Path) -> Result<()> {
        let output = self
            .program("initdb")
            .args(["--username", USER_AND_DATABASE, "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C"])
            .arg("--pwfile")
            .arg(password_file)
            .arg("--pgdata")
            .arg(data)
            .output()
            .context("cannot run initdb")?;
        succeeded("initdb", &output)?;
        let main = data.join("postgresql.conf");
        let mut text = fs::read_to_string(&main)?;
        text.push_str(&format!("\ninclude_if_exists = '{OUR_SETTINGS}'\n"));
        // In place: owner and mode stay.
        fs::write(&main, text)?;
        Ok(())
    }

    /// In single-user mode: no server, no port, no password.
    fn create_database(&self, data: &Path) -> Result<()> {
        let mut child = self
            .program("postgres")
            .arg("--single")
            .args(["-c", "exit_on_error=on", "-D"])
            .arg(data)
            .arg("postgres")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run postgres")?;
        if let Some(mut stdin) = child.stdin.take() {
            // A child that died closes the pipe; its exit status says more than that.
            let _ = std::io::Write::write_all(&mut stdin, format!("CREATE DATABASE {USER_AND_DATABASE};\n").as_bytes());
        }
        succeeded("postgres --single", &child.wait_with_output()?)
    }

    fn write_settings(&self, data: &Path, memory_bytes: u64) -> Result<()> {
        let path = data.join(OUR_SETTINGS);
        write_private(&path, configuration(memory_bytes).as_bytes())?;
        if let Some(owner) = self.owner {
            owner.take(&path)?;
        }
        Ok(())
    }

    /// One of PostgreSQL's programs, as the cluster's owner, without our terminal's signals and without the
    /// environment's `PG…` variables, which mean clusters of others.
    pub(super) fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.binaries.bin.join(name));
        // The present directory may be one that the owner cannot reach.
        command.current_dir("/").env("LC_ALL", "C").stdin(Stdio::null()).process_group(0);
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("PG") {
                command.env_remove(variable);
            }
        }
        if let Some(owner) = self.owner {
            // Giving up root this way also gives up its supplementary groups.
            command.uid(owner.uid).gid(owner.gid);
        }
        command
    }
}

fn succeeded(program: &str, output: &Output) -> Result<()> {
    if output.status.success() {
        return Ok(());
    }
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    bail!("{program} failed ({}): {}", output.status, String::from_utf8_lossy(&said).trim());
}
