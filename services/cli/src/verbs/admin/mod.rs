//! `hashmesh admin`: keys, tenants, the audit trail.

mod audit;
mod first_key;
mod keys;
mod tenants;
mod workers;

use clap::{Args, Subcommand};
use hashmesh::client::ClientError;
use tonic::{Response, Status};

use super::failure::Failure;

/// Administer a mesh that checks keys. All but `first-key` needs a key with the scope `admin`.
#[derive(Args, Debug)]
pub(crate) struct AdminArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    FirstKey(first_key::FirstKeyArgs),
    #[command(subcommand)]
    Keys(keys::Keys),
    #[command(subcommand)]
    Tenants(tenants::Tenants),
    #[command(subcommand)]
    Workers(workers::Workers),
    Audit(audit::AuditArgs),
}

impl AdminArgs {
    pub(super) async fn run(self) -> Result<u8, Failure> {
        match self.what {
            What::FirstKey(args) => args.run().await,
            What::Keys(keys) => keys.run().await,
            What::Tenants(tenants) => tenants.run().await,
            What::Workers(workers) => workers.run().await,
            What::Audit(args) => args.run().await,
        }
    }
}

/// The answer to a call, which is made once: what changes keys must not be repeated by itself.
fn answered<T>(answer: Result<Response<T>, Status>) -> Result<T, Failure> {
    answer.map(Response::into_inner).map_err(|status| Failure::Mesh(ClientError::Refused(status)))
}
