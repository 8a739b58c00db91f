//! Where uploads are, for every role that has to do with them, and the S3-compatible store that they may be in.

use std::{env, path::Path};

use anyhow::{Context, Result, anyhow, bail};
use clap::{
    Args,
    builder::{OsStringValueParser, TypedValueParser as _},
};
use hashmesh::limits::DEFAULT_MAX_UPLOAD_BYTES;
use hashmesh_runtime::metrics;
use hashmesh_uploads::{S3Access, UploadPlace, UploadStore};

use crate::settings::value_or_file;

/// Where uploads are.
#[derive(Args, Clone, Debug)]
pub(crate) struct UploadArgs {
    /// Where the bytes of uploads are: s3://BUCKET/PREFIX/ of the S3-compatible store, or a directory that all Gateways, Workers
    /// and Queues have. All of them must be told the same.
    #[arg(long, value_name = "DIR|URI", value_parser = OsStringValueParser::new().try_map(UploadPlace::try_from))]
    upload_store: Option<UploadPlace>,
}

/// What uploads may be.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct UploadLimitArgs {
    /// Bytes of one upload at most.
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_MAX_UPLOAD_BYTES, value_parser = clap::value_parser!(u64).range(1..=i64::MAX as u64))]
    pub(crate) upload_max_bytes: u64,
}

/// The S3-compatible store.
#[derive(Args, Clone, Debug)]
pub(crate) struct S3Args {
    /// The S3-compatible store that s3: stands for (also AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL); default: Amazon's. Its
    /// credentials are taken from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, each as it is or as @FILE;
    /// without them requests are not signed.
    #[arg(long, value_name = "URL")]
    pub(crate) s3_endpoint: Option<String>,
    /// The store's region (also AWS_REGION, AWS_DEFAULT_REGION).
    #[arg(long, value_name = "NAME", default_value = "us-east-1")]
    pub(crate) s3_region: String,
}

/// An access key's id, its secret and, perhaps, a session token.
pub(crate) type Credentials = (String, String, Option<String>);

impl UploadArgs {
    /// The store, if one was named.
    pub(crate) fn open(&self, s3: &S3Args) -> Result<Option<UploadStore>> {
        self.upload_store.as_ref().map(|place| open(place, s3)).transpose()
    }

    /// The store; a directory below this one if none was named.
    pub(crate) fn open_or_below(&self, data_dir: &Path, s3: &S3Args) -> Result<UploadStore> {
        let usual = || UploadPlace::Directory(data_dir.join("uploads"));
        open(&self.upload_store.clone().unwrap_or_else(usual), s3)
    }
}

fn open(place: &UploadPlace, s3: &S3Args) -> Result<UploadStore> {
    if let UploadPlace::Directory(path) = place {
        metrics::directory("uploads", path);
    }
    let access =
        S3Access { endpoint: s3.s3_endpoint.clone(), region: s3.s3_region.clone(), credentials: s3.credentials()? };
    UploadStore::open(place, &access).context("cannot use the store of uploads")
}

impl S3Args {
    /// From the environment, or from the files that it names (@FILE): what stands on a command line is seen by everybody on the
    /// machine.
    pub(crate) fn credentials(&self) -> Result<Option<Credentials>> {
        let variable = |name| {
            let given = env::var(name).ok().filter(|value| !value.is_empty());
            given.map(|value| value_or_file(&value)).transpose().map_err(|error| anyhow!("{name}: {error}"))
        };
        match (variable("AWS_ACCESS_KEY_ID")?, variable("AWS_SECRET_ACCESS_KEY")?) {
            (Some(id), Some(secret)) => Ok(Some((id, secret, variable("AWS_SESSION_TOKEN")?))),
            (None, None) => Ok(None),
            (Some(_), None) => bail!("AWS_ACCESS_KEY_ID needs AWS_SECRET_ACCESS_KEY, the key's secret"),
            (None, Some(_)) => bail!("AWS_SECRET_ACCESS_KEY needs AWS_ACCESS_KEY_ID, the secret's key"),
        }
    }
}
