//! Whether the largest message passes.

use std::time::{Duration, Instant};

use bytes::Bytes;
use hashmesh::{
    client::Client, error::reason, gateway::v1::ComputeDigestRequest, limits::MAX_BATCH_BYTES, v1::Algorithm,
};
use hashmesh_hash::{Recipe, digest_into};
use tonic::Status;

use super::check::Check;

const NAME: &str = "message size";
const PATIENCE: Duration = Duration::from_secs(60);

/// Has a random input of the largest size digested, there and here.
pub(super) async fn ask(client: &Client) -> Check {
    let made = tokio::task::spawn_blocking(|| {
        let mut data = vec![0; MAX_BATCH_BYTES as usize];
        rand::fill(data.as_mut_slice());
        let mut digest = Vec::new();
        let recipe = Recipe::new([Algorithm::Sha256], 0).ok()?;
        digest_into(&recipe, &data, &mut digest);
        Some((Bytes::from(data), hex::encode(digest)))
    });
    let Ok(Some((data, expected))) = made.await else {
        return Check::skipped(NAME, "no input could be made here");
    };
    let mut gateway = client.gateway();
    let request = ComputeDigestRequest { data, ..Default::default() };
    let begun = Instant::now();
    let answer = match tokio::time::timeout(PATIENCE, gateway.compute_digest(request)).await {
        Ok(answer) => answer.map(|answer| answer.into_inner().digests.into_iter().next().unwrap_or_default().hex),
        Err(_) => Err(Status::deadline_exceeded(format!("no answer within {} s", PATIENCE.as_secs()))),
    };
    judge(answer, &expected, begun.elapsed())
}

fn judge(answer: Result<String, Status>, expected: &str, took: Duration) -> Check {
    let seconds = took.as_secs_f64();
    let check = match answer {
        Ok(digest) if digest == expected => Check::ok(
            NAME,
            format!("{MAX_BATCH_BYTES} bytes pass, and their SHA-256 is right ({:.0} ms)", seconds * 1e3),
        ),
        Ok(digest) => {
            let found = format!("the SHA-256 of {MAX_BATCH_BYTES} bytes is {expected}, came back as {digest}");
            Check::fail(
                NAME,
                found,
                "something changes messages on the way, or computes wrongly: trust no digest of it",
            )
        }
        Err(status) => {
            let found = format!("{MAX_BATCH_BYTES} bytes in a call fail: {:?}: {}", status.code(), status.message());
            match reason(&status) {
                Some(reason) => Check::warn(
                    NAME,
                    found,
                    format!("the mesh itself says so: `hashmesh explain {}`; ask again later", reason.as_str()),
                ),
                None => Check::fail(
                    NAME,
                    found,
                    "let bodies of 4 MiB and streams of any length pass: nginx `client_max_body_size 0`, Envoy no `buffer` \
                     filter, a WAF no inspection of bodies",
                ),
            }
        }
    };
    check.with("bytes", MAX_BATCH_BYTES).with("seconds", seconds)
}

#[cfg(test)]
mod tests {
    use hashmesh::error::{Reason, StatusBuilder};

    use super::{super::check::State, *};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_body_limit_is_the_proxys_and_an_overload_the_meshs() {
        assert_eq!(judge(Ok("ab".into()), "ab", SECOND).state, State::Ok);
        assert_eq!(judge(Ok("cd".into()), "ab", SECOND).state, State::Fail);
        let check = judge(Err(Status::unknown("413 Payload Too Large")), "ab", SECOND);
        assert_eq!(check.state, State::Fail);
        assert!(check.remedy.unwrap().contains("client_max_body_size"));
        let busy = StatusBuilder::new(Reason::Overloaded, "too much at once").build();
        assert_eq!(judge(Err(busy), "ab", SECOND).state, State::Warn);
    }
}
