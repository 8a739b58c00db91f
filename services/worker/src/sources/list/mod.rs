//! Listing: which objects a place has, a page at a time, in byte order of their keys or paths, or in the order of a list.
//!
//! Nothing is remembered between two pages: the cursor, the last key or path that was looked at, says all, so that any worker
//! that reads the place can go on.

mod page;
mod text;
mod tree;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hashmesh::{
    error::TaskReason,
    queue::v1::{ListSource, SourcePage},
    tasks::{AllowedSources, Place, file_path},
    v1::Algorithm,
};
use tokio::time::timeout;

pub(crate) use self::{
    page::{Page, PushError},
    text::TextPart,
};
use super::{Failure, Sources};

/// A page that is not full by then is handed over as it is: workers have something to do meanwhile.
const ENOUGH: Duration = Duration::from_secs(1);
/// A page that takes longer has failed.
const TOO_LONG: Duration = Duration::from_secs(60);

/// When a page is to be handed over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageTime {
    enough_at: Instant,
}

impl PageTime {
    /// From now on.
    fn begin() -> Self {
        Self { enough_at: Instant::now() + ENOUGH }
    }

    /// Nothing more is to be begun.
    pub(crate) fn is_up(self) -> bool {
        Instant::now() >= self.enough_at
    }
}

/// Answers a question.
pub(crate) async fn list(sources: &Arc<Sources>, question: ListSource) -> SourcePage {
    let number = question.question;
    let listed = timeout(TOO_LONG, list_place(sources, question)).await.unwrap_or_else(|_| {
        let message = format!("listing a page took longer than {} s", TOO_LONG.as_secs());
        Err(Failure::retryable(TaskReason::SourceTimedOut, message))
    });
    let page = match listed {
        Ok(page) => page,
        Err(failure) => SourcePage { failure: Some(failure.into_attempt(0)), ..SourcePage::default() },
    };
    SourcePage { question: number, ..page }
}

async fn list_place(sources: &Arc<Sources>, question: ListSource) -> Result<SourcePage, Failure> {
    let ListSource { source_uri, cursor, max_tasks, max_bytes, sources: allowed, algorithms, .. } = question;
    let allowed = allowed.as_ref().map(AllowedSources::of);
    let unknown = |_| Failure::permanent(TaskReason::SourceNotAllowed, "the source is nothing that can be listed");
    let place = Place::of(source_uri.as_bytes()).map_err(unknown)?;
    if allowed.as_ref().is_some_and(|allowed| !allowed.cover_place(&place)) {
        return Err(Failure::not_the_tenants());
    }
    if sources.uploads.as_ref().is_some_and(|uploads| uploads.hold(Place::to_read(&source_uri).as_bytes())) {
        return Err(Failure::of_the_store());
    }
    let mut page = Page::new(max_tasks as usize, max_bytes as usize, &cursor);
    let time = PageTime::begin();
    match place {
        Place::Prefix { bucket, prefix } => {
            let remote = sources.remote.as_ref().ok_or_else(Failure::cannot_reach)?;
            let listed = remote.list(&bucket, &prefix, &mut page, time).await;
            // Every byte is hashed and copied once: too much for an async thread.
            blocking(move || page.finish(listed)).await
        }
        Place::List(uri) => {
            let from = text::Cursor::decode(&cursor)?;
            let algorithms: Vec<_> = algorithms.into_iter().filter_map(Algorithm::known).collect();
            let part = text_part(sources, &uri, allowed, from.offset).await?;
            blocking(move || {
                let listed = text::list(&from, &part, &algorithms, &mut page);
                page.finish(listed)
            })
            .await
        }
        Place::Directory(path) => {
            let sources = Arc::clone(sources);
            blocking(move || {
                let (root, place) = sources.place(&path, allowed.as_ref())?;
                let directory = root.open_directory(&place).map_err(|error| not_a_directory(&error))?;
                let listed = tree::list(directory, &path, &mut page, time);
                page.finish(listed)
            })
            .await
        }
    }
}

/// The next bytes of the text of a list.
async fn text_part(
    sources: &Arc<Sources>,
    uri: &str,
    allowed: Option<AllowedSources>,
    offset: u64,
) -> Result<TextPart, Failure> {
    let Some(path) = file_path(uri.as_bytes()) else {
        let remote = sources.remote.as_ref().ok_or_else(Failure::cannot_reach)?;
        return remote.part(uri.as_bytes(), allowed.as_ref(), offset, text::PART_BYTES).await;
    };
    let sources = Arc::clone(sources);
    blocking(move || {
        let (root, place) = sources.place(&path, allowed.as_ref())?;
        let file = root.open_file(&place).map_err(|error| Failure::from_open(&error))?;
        TextPart::of_file(&file, offset)
    })
    .await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(Failure::panicked()))
}

fn not_a_directory(error: &std::io::Error) -> Failure {
    match rustix::io::Errno::from_io_error(error) {
        Some(rustix::io::Errno::NOTDIR) => {
            Failure::permanent(TaskReason::SourceNotFound, "what is to be listed is no directory")
        }
        Some(rustix::io::Errno::NOENT) => Failure::permanent(TaskReason::SourceNotFound, "no such directory"),
        _ => Failure::from_open(error),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use hashmesh_hash::{HashPool, PoolLimits};

    use super::*;
    use hashmesh::{tasks::AllowedSource, v1::TenantSources};

    use crate::sources::RemoteSettings;

    fn reading(root: &Path) -> Arc<Sources> {
        let pool = HashPool::new("list", 1, PoolLimits::new(1, 1 << 20)).unwrap();
        let allowed = [AllowedSource::Directory(root.to_owned())];
        Arc::new(Sources::open(&allowed, &RemoteSettings::default(), None, pool, None).unwrap())
    }

    fn question(uri: &str, cursor: &[u8], max_tasks: u32) -> ListSource {
        let (source_uri, cursor) = (uri.to_owned(), cursor.to_vec().into());
        ListSource { question: 7, source_uri, cursor, max_tasks, max_bytes: 1 << 20, ..ListSource::default() }
    }

    fn reason(page: &SourcePage) -> &str {
        &page.failure.as_ref().and_then(|failure| failure.error.as_ref()).expect("it failed").reason
    }

    #[tokio::test]
    async fn promise_8_a_directory_is_listed_page_by_page_below_the_root_and_nowhere_else() {
        let directory = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(directory.path()).unwrap();
        fs::create_dir_all(root.join("allowed/a b")).unwrap();
        fs::create_dir(root.join("secret")).unwrap();
        for file in ["allowed/a b/1", "allowed/a b/2", "allowed/z", "secret/key"] {
            fs::write(root.join(file), "x").unwrap();
        }
        std::os::unix::fs::symlink("../secret", root.join("allowed/out")).unwrap();
        std::os::unix::fs::symlink("a b", root.join("allowed/in")).unwrap();
        fs::create_dir(root.join("allowed/x")).unwrap();
        std::os::unix::fs::symlink("../a b", root.join("allowed/x/a b")).unwrap();
        let sources = reading(&root.join("allowed"));
        let uri = |below: &str| format!("file://{}/{below}", root.display());

        let first = list(&sources, question(&uri("allowed/"), b"", 2)).await;
        let batch = first.batch.expect("two files");
        assert_eq!((first.question, batch.task_count, first.end, &*first.cursor), (7, 2, false, &b"a b/"[..]));
        assert_eq!(batch.reference_prefix, uri("allowed/a%20b/"));
        // Three links, which nobody walks into, and a file.
        let second = list(&sources, question(&uri("allowed/"), &first.cursor, 9)).await;
        assert_eq!((second.batch.expect("one file").task_count, second.end), (4, true));
        let through_a_link = list(&sources, question(&uri("allowed/in/"), b"", 9)).await;
        assert_eq!(through_a_link.batch.expect("two files").task_count, 2);

        for (uri, wanted) in [
            (uri("secret/"), "CANNOT_REACH_SOURCE"),
            (uri("allowed/out/"), "SOURCE_NOT_ALLOWED"),
            (uri("allowed/../secret/"), "SOURCE_NOT_ALLOWED"),
            (uri("allowed/none/"), "SOURCE_NOT_FOUND"),
            (uri("allowed/z/"), "SOURCE_NOT_FOUND"),
            ("s3://bucket/".to_owned(), "CANNOT_REACH_SOURCE"),
            ("https://host/".to_owned(), "SOURCE_NOT_ALLOWED"),
            ("file:///".to_owned(), "CANNOT_REACH_SOURCE"),
        ] {
            assert_eq!(reason(&list(&sources, question(&uri, b"", 9)).await), wanted, "{uri}");
        }
        // What a tenant may name, whatever the worker may read.
        let the_tenants = |below: &str, places: &[&str]| {
            let uri_prefixes = places.iter().map(|place| uri(place)).collect();
            ListSource { sources: Some(TenantSources { uri_prefixes }), ..question(&uri(below), b"", 9) }
        };
        let ours = list(&sources, the_tenants("allowed/a%20b/", &["allowed/a%20b/"])).await;
        assert_eq!(ours.batch.expect("two files").task_count, 2);
        for (below, place) in
            [("allowed/", "allowed/a%20b/"), ("allowed/x/a%20b/", "allowed/x/"), ("allowed/", "secret/")]
        {
            let page = list(&sources, the_tenants(below, &[place])).await;
            assert_eq!(reason(&page), "SOURCE_NOT_ALLOWED", "{below} {place}");
        }
        // A cursor is no path that is opened.
        let cursor = list(&sources, question(&uri("allowed/"), b"../secret/", 9)).await;
        assert_eq!(cursor.batch.expect("all of its own").reference_prefix, uri("allowed/"));
    }
}
