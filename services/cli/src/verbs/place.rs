//! Places: what the mesh lists itself, for `submit`, `compare` and `schedule`.

use std::path::{Path, PathBuf};

use hashmesh::{
    client::Client,
    tasks::{Place, Scheme},
    v1::{Expansion, SubmissionOptions},
};

use super::{failure::Failure, feed::object_uri};

/// What is said of a path that had to be one.
pub(super) const NO_PLACE: &str =
    "is no place that the mesh lists (s3://BUCKET, s3://BUCKET/PREFIX/, file:///PATH/, list:URI)";

/// The place that a path names: a bucket, a URI that ends with `/`, or a list. Of web servers no such URI is a place.
pub(super) fn place(path: &Path) -> Result<Option<Place>, Failure> {
    if let Some(list) = path.to_str().filter(|text| is_list(text)) {
        return Place::of(list.as_bytes()).map(Some).map_err(|wanted| Failure::Usage(format!("{list} {wanted}")));
    }
    let Some(uri) = object_uri(path) else { return Ok(None) };
    let bucket = uri.strip_prefix("s3://").is_some_and(|rest| !rest.contains('/'));
    let listed = matches!(Scheme::of(uri.as_bytes()), Some(Scheme::S3 | Scheme::File)) && uri.ends_with('/');
    if !bucket && !listed {
        return Ok(None);
    }
    Place::of(uri.as_bytes()).map(Some).map_err(|wanted| Failure::Usage(format!("{uri} {wanted}")))
}

/// True for `list:` and a URI; a file may be called `list:` and something.
fn is_list(text: &str) -> bool {
    text.strip_prefix("list:").is_some_and(|uri| Scheme::of(uri.as_bytes()).is_some())
}

/// The only place among these paths, if one of them is a place.
pub(super) fn only_place(paths: &[PathBuf]) -> Result<Option<Place>, Failure> {
    for path in paths {
        if let Some(place) = place(path)? {
            if paths.len() > 1 {
                let text = format!("{} stands for many objects, which the mesh lists: give it alone", path.display());
                return Err(Failure::Usage(text));
            }
            return Ok(Some(place));
        }
    }
    Ok(None)
}

/// Creates a submission that takes its tasks from a place. Gives its id.
pub(super) async fn create(
    client: &Client,
    place: &Place,
    options: SubmissionOptions,
    idempotency_key: Option<String>,
) -> Result<String, Failure> {
    let expansion = Some(Expansion { source_uri: place.uri() });
    let options = SubmissionOptions { expansion, ..options };
    Ok(client.create_submission(options, idempotency_key).await?.submission_id)
}

/// The submission of this id, if it takes its tasks from this place.
pub(super) async fn existing(client: &Client, place: &Place, id: &str) -> Result<String, Failure> {
    let submission = client.get_submission(id).await?;
    let expansion = submission.options.and_then(|options| options.expansion);
    if expansion.is_some_and(|expansion| expansion.source_uri == place.uri()) {
        return Ok(submission.submission_id);
    }
    Err(Failure::Usage(format!("submission {id} does not take its tasks from {}", place.uri())))
}
