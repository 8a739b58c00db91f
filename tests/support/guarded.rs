//! A mesh that checks keys.

use std::fs;

use hashmesh::{
    admin::v1::{CreateKeyRequest, SetTenantControlsRequest, admin_service_client::AdminServiceClient},
    client::{Client, ClientConfig, KeyedChannel},
    keys::KeyText,
    v1::{Scope, TenantSources},
};
use tokio::sync::OnceCell;
use tonic::transport::Channel;

use super::Up;

/// A mesh that checks keys.
#[derive(Debug)]
pub(crate) struct Guarded {
    pub(crate) up: Up,
    pub(crate) admin: KeyText,
}

impl Guarded {
    pub(crate) async fn start(name: &str, options: &[&str]) -> Self {
        let up = Up::start(name, &[&["--auth", "keys"], options].concat()).await;
        let text = fs::read_to_string(up.data_dir().join("admin.key")).expect("the first key");
        Self { up, admin: KeyText::parse(text.trim()).expect("a key") }
    }

    /// One for all tests that leave it as it is.
    pub(crate) async fn shared() -> &'static Self {
        static SHARED: OnceCell<Guarded> = OnceCell::const_new();
        SHARED.get_or_init(|| Self::start("access", &[])).await
    }

    pub(crate) async fn channel(&self) -> Channel {
        Channel::from_shared(self.up.server.clone()).expect("a URL").connect().await.expect("it listens")
    }

    pub(crate) fn client(&self, key: &KeyText) -> Client {
        let config = ClientConfig { api_key: Some(key.clone()), ..ClientConfig::new(&self.up.server) };
        Client::connect(config).expect("a URL")
    }

    pub(crate) fn administration(&self) -> AdminServiceClient<KeyedChannel> {
        self.client(&self.admin).admin()
    }

    pub(crate) async fn create(&self, request: CreateKeyRequest) -> KeyText {
        let answer = self.administration().create_key(request).await.expect("a key").into_inner();
        let key = KeyText::parse(&answer.text).expect("a key");
        assert_eq!(answer.key.expect("it").key_id, key.id());
        key
    }

    /// From now on the tenant may have this read. Gateways that have met one of its keys know it a moment later.
    pub(crate) async fn allow(&self, tenant: &str, uri: &str) {
        let sources = Some(TenantSources { uri_prefixes: vec![uri.to_owned()] });
        let request =
            SetTenantControlsRequest { tenant: tenant.to_owned(), sources, ..SetTenantControlsRequest::default() };
        self.administration().set_tenant_controls(request).await.expect("it is allowed");
    }

    /// A new key of this tenant.
    pub(crate) async fn key(&self, tenant: &str, scopes: &[Scope]) -> KeyText {
        let scopes = scopes.iter().map(|scope| (*scope).into()).collect();
        self.create(CreateKeyRequest { tenant: tenant.to_owned(), scopes, ..CreateKeyRequest::default() }).await
    }
}
