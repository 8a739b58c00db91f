//! A mesh of separate processes with several Gateways, and Envoy in front of them.

use hashmesh::client::{Client, ClientConfig};
use tokio::sync::OnceCell;

use super::{
    envoy::Envoy,
    mesh::{Mesh, MeshOptions, Role},
    raw::Gateway,
};

static SHARED: OnceCell<Edge> = OnceCell::const_new();

/// Three Gateways behind an Envoy.
#[derive(Debug)]
pub(crate) struct Edge {
    // Dropped in this order.
    pub(crate) envoy: Envoy,
    pub(crate) gateways: Vec<Role>,
    pub(crate) mesh: Mesh,
    environment: Vec<(String, String)>,
}

impl Edge {
    /// The one that nobody breaks.
    pub(crate) async fn shared() -> &'static Self {
        SHARED.get_or_init(|| Self::start("edge", &[], &[])).await
    }

    /// Starts one; `changes` as in [`Envoy::start`], `environment` is that of the Gateways.
    pub(crate) async fn start(name: &str, environment: &[(&str, &str)], changes: &[(&str, &str)]) -> Self {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let environment: Vec<_> = environment.iter().map(own).collect();
        let options = MeshOptions { gateway_environment: environment.clone(), ..MeshOptions::default() };
        let mesh = Mesh::start(name, options).await;
        let mut gateways = Vec::new();
        for number in 1..3 {
            gateways.push(mesh.further_gateway(&format!("gateway-{number}"), &environment).await);
        }
        let addresses: Vec<String> =
            [&mesh.gateway].into_iter().chain(&gateways).map(|gateway| gateway.address.clone()).collect();
        let envoy = Envoy::start(&format!("{name}-envoy"), &addresses, changes).await;
        Self { envoy, gateways, mesh, environment }
    }

    /// One more Gateway, which Envoy does not know.
    pub(crate) async fn further_gateway(&mut self) -> String {
        let name = format!("gateway-{}", self.gateways.len() + 1);
        let gateway = self.mesh.further_gateway(&name, &self.environment).await;
        let address = gateway.address.clone();
        self.gateways.push(gateway);
        address
    }

    /// The Gateways: the mesh's first.
    pub(crate) fn gateways(&self) -> impl Iterator<Item = &Role> {
        [&self.mesh.gateway].into_iter().chain(&self.gateways)
    }

    pub(crate) fn gateway_mut(&mut self, number: usize) -> &mut Role {
        match number {
            0 => &mut self.mesh.gateway,
            further => &mut self.gateways[further - 1],
        }
    }

    /// Their `HOST:PORT`.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.gateways().map(|gateway| gateway.address.clone()).collect()
    }

    /// Our own client, through Envoy.
    pub(crate) fn client(&self) -> Client {
        Client::connect(ClientConfig::new(self.envoy.url())).expect("a URL")
    }

    /// The generated one, through Envoy, on a connection of its own.
    pub(crate) async fn connect(&self) -> Gateway {
        Gateway::connect(&self.envoy.url()).await
    }
}
