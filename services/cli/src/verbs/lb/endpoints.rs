//! `hashmesh lb endpoints [HOST:PORT…]`: which Gateways there are, where no name says it.

use std::{fmt::Write as _, net::SocketAddr, path::PathBuf};

use clap::Args;

use super::{
    super::{
        failure::{self, Failure},
        output::write_text,
    },
    file,
};

/// Show the Gateways in the file that Envoy watches, or replace them.
///
/// For meshes without a name that has every Gateway's address (`type: EDS` in envoy/lb/gateway.dev.yaml). Gateways that stay keep
/// their connections; streams on those that go end when the Gateway does.
#[derive(Args, Debug)]
pub(super) struct EndpointsArgs {
    /// All Gateways. Envoy resolves no names here: for those, `type: STRICT_DNS` in envoy/lb/gateway.yaml.
    #[arg(value_name = "IP:PORT")]
    gateways: Vec<SocketAddr>,
    /// The file that Envoy watches for the endpoints of its cluster `gateway`.
    #[arg(
        long,
        value_name = "FILE",
        env = "HASHMESH_LB_ENDPOINTS_FILE",
        default_value = "envoy/lb/endpoints.dev.yaml"
    )]
    file: PathBuf,
}

const PREFIX: &str = "          - endpoint: {address: {socket_address: {address: \"";

impl EndpointsArgs {
    pub(super) async fn run(self) -> Result<u8, Failure> {
        if self.gateways.is_empty() {
            write_text(&listed(&file::read(&self.file)?)).await?;
            return Ok(failure::OK);
        }
        let text = document(&self.gateways);
        file::replace(&self.file, &text)?;
        write_text(&listed(&text)).await?;
        Ok(failure::OK)
    }
}

fn document(gateways: &[SocketAddr]) -> String {
    let mut text = "\
# Written by `hashmesh lb endpoints`.
resources:
  - \"@type\": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment
    cluster_name: gateway
    endpoints:
      - lb_endpoints:
"
    .to_owned();
    for gateway in gateways {
        writeln!(text, "{PREFIX}{}\", port_value: {}}}}}}}", gateway.ip(), gateway.port())
            .expect("a string takes everything");
    }
    text
}

/// `IP:PORT` a line, of what was written by us.
fn listed(text: &str) -> String {
    let endpoint = |line: &str| {
        let (host, rest) = line.strip_prefix(PREFIX)?.split_once('"')?;
        let port = rest.strip_prefix(", port_value: ")?.trim_end_matches('}');
        Some(if host.contains(':') { format!("[{host}]:{port}\n") } else { format!("{host}:{port}\n") })
    };
    text.lines().filter_map(endpoint).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_shown() {
        let gateways: Vec<SocketAddr> =
            ["10.0.0.1:7420", "[::1]:7421"].iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(listed(&document(&gateways)), "10.0.0.1:7420\n[::1]:7421\n");
    }

    #[test]
    fn the_file_that_comes_with_hashmesh_has_the_gateway_of_an_up() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../envoy/lb/endpoints.dev.yaml");
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(listed(&text), "127.0.0.1:7420\n");
        assert_eq!(text, document(&["127.0.0.1:7420".parse().unwrap()]));
    }
}
