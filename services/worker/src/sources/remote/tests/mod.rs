//! Against HTTP servers of our own that misbehave: `faults`; against clients that do: `hostile`.

mod faults;
mod hostile;
mod origin;

use hashmesh::{
    tasks::AllowedSource,
    v1::{Algorithm, ByteRange, TenantSources},
};
use hashmesh_hash::{PoolLimits, Recipe, digest_into};

use super::*;

fn recipe() -> Recipe {
    Recipe::new([Algorithm::Sha256, Algorithm::Md5], 0).unwrap()
}

/// What a tenant may name.
fn tenants(uris: &[&str]) -> AllowedSources {
    AllowedSources::of(&TenantSources { uri_prefixes: uris.iter().map(|uri| (*uri).to_owned()).collect() })
}

/// Follows nothing and stops nothing.
struct Unwatched;

impl Progress for Unwatched {
    fn read(&self, _bytes: u64) -> bool {
        true
    }
}

/// A reader that may go to these places, and to addresses on loopback.
fn remote(allowed: &[&str], change: impl FnOnce(&mut RemoteSettings)) -> Remote {
    let mut settings =
        RemoteSettings { allow_networks: vec!["127.0.0.0/8".parse().unwrap()], ..RemoteSettings::default() };
    change(&mut settings);
    let (mut sites, mut buckets) = (Vec::new(), Vec::new());
    for text in allowed {
        match AllowedSource::parse(text.as_ref()).unwrap() {
            AllowedSource::Site(site) => sites.push(site),
            AllowedSource::Bucket(bucket) => buckets.push(bucket),
            AllowedSource::Directory(path) => panic!("{path:?}"),
        }
    }
    let pool = HashPool::new("test", 1, PoolLimits::new(1, 1 << 20)).unwrap();
    Remote::new(sites, buckets, &settings, pool).unwrap()
}

async fn digest(remote: &Remote, uri: &str, range: Option<ByteRange>) -> Result<(Vec<u8>, Read), Failure> {
    let recipe = recipe();
    digest_wanted(
        remote,
        Wanted {
            uri: uri.as_bytes(),
            range,
            algorithms: &recipe,
            allowed: None,
            known: None,
            listed: None,
            keeps: false,
        },
    )
    .await
}

async fn digest_wanted(remote: &Remote, wanted: Wanted<'_>) -> Result<(Vec<u8>, Read), Failure> {
    let mut digests = Vec::new();
    match remote.digest(wanted, &mut digests, &Unwatched).await {
        Ok(read) => Ok((digests, read)),
        Err(ReadError::Failed(failure)) => {
            assert!(digests.is_empty(), "a failed read leaves nothing behind");
            Err(failure)
        }
        Err(ReadError::Cancelled) => panic!("nobody cancelled"),
    }
}

fn digests_of(bytes: &[u8]) -> Vec<u8> {
    let mut digests = Vec::new();
    digest_into(&recipe(), bytes, &mut digests);
    digests
}

/// Larger than what is gathered before it is hashed.
fn object() -> Vec<u8> {
    (0..3 * GATHERED_BYTES + 17).map(|place| (place % 251) as u8).collect()
}
