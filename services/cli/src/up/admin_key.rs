//! The first key of an `up` that checks keys: in its data directory, for whoever may read that.

use std::{
    fs::OpenOptions,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use hashmesh_database::Database;

const NAME: &str = "admin.key";
/// Whose submissions it sees and makes.
const TENANT: &str = "default";

/// Where the key is. Made unless there is a key that can administer already, here or in somebody else's hands.
pub(super) async fn in_data_dir(data_dir: &Path, database: &Database) -> Result<PathBuf> {
    let path = data_dir.join(NAME);
    if hashmesh_queue::has_admin_key(database).await? {
        return Ok(path);
    }
    let key = hashmesh_queue::create_admin_key(database, TENANT, "made by `hashmesh up`").await?;
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
    let written = file.and_then(|mut file| writeln!(file, "{}", key.reveal()));
    written.with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
