//! `hashmesh lb`: how the Envoy in front chooses among the Gateways, and which there are. It watches the files that are written here.

mod endpoints;
mod file;
mod policy;
mod stats;

use clap::{Args, Subcommand};

use super::failure::Failure;

/// How Envoy spreads calls over the Gateways.
#[derive(Args, Debug)]
pub(crate) struct LbArgs {
    #[command(subcommand)]
    verb: LbVerb,
}

#[derive(Debug, Subcommand)]
enum LbVerb {
    Policy(policy::PolicyArgs),
    Endpoints(endpoints::EndpointsArgs),
    Stats(stats::StatsArgs),
}

impl LbArgs {
    pub(super) async fn run(self) -> Result<u8, Failure> {
        match self.verb {
            LbVerb::Policy(args) => args.run().await,
            LbVerb::Endpoints(args) => args.run().await,
            LbVerb::Stats(args) => args.run().await,
        }
    }
}
