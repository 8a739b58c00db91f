//! One mesh for all tests that do not break it, and whose Postgres gives the others their databases.

use tokio::sync::OnceCell;

use super::{raw::Gateway, tree, up::Up};

static SHARED: OnceCell<Up> = OnceCell::const_new();

/// The directory below which the shared mesh's worker may read.
pub(crate) fn source_root() -> &'static std::path::Path {
    tree::shared_root()
}

/// The shared mesh. Nobody may stop it.
pub(crate) async fn up() -> &'static Up {
    let start = async || Up::start("shared", &["--allow-source", &source_root().to_string_lossy()]).await;
    SHARED.get_or_init(start).await
}

/// The shared mesh, if somebody needed it already.
pub(crate) fn started() -> Option<&'static Up> {
    SHARED.get()
}

/// A client of the shared mesh's Gateway.
pub(crate) async fn gateway() -> Gateway {
    Gateway::connect(&up().await.server).await
}
