//! `AdminService`: keys, tenants, the audit trail. What it needs to know is kept by the Queue; secrets are made here and
//! leave for the caller only.

pub(crate) mod audit;
mod keys;
mod tenants;
mod validate;

use hashmesh::{admin::v1 as api, admin::v1::admin_service_server::AdminService};
use prost::Message;
use tonic::{Request, Response, Status};

use crate::{call::Call, service::Gateway};

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct Administration {
    gateway: Gateway,
}

impl Administration {
    pub(crate) fn new(gateway: Gateway) -> Self {
        Self { gateway }
    }

    /// Answers a call within its place and with its deadline.
    async fn answer<Q: Message, A, F>(
        &self,
        request: Request<Q>,
        work: impl FnOnce(Gateway, Q, Call) -> F,
    ) -> Result<Response<A>, Status>
    where
        F: Future<Output = Result<A, Status>>,
    {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        let _place = self.gateway.admission.call(request.encoded_len())?;
        work(self.gateway.clone(), request, call).await.map(Response::new)
    }
}

#[tonic::async_trait]
impl AdminService for Administration {
    async fn create_key(
        &self,
        request: Request<api::CreateKeyRequest>,
    ) -> Result<Response<api::CreateKeyResponse>, Status> {
        self.answer(request, keys::create).await
    }

    async fn list_keys(
        &self,
        request: Request<api::ListKeysRequest>,
    ) -> Result<Response<api::ListKeysResponse>, Status> {
        self.answer(request, keys::list).await
    }

    async fn rotate_key(
        &self,
        request: Request<api::RotateKeyRequest>,
    ) -> Result<Response<api::RotateKeyResponse>, Status> {
        self.answer(request, keys::rotate).await
    }

    async fn revoke_key(
        &self,
        request: Request<api::RevokeKeyRequest>,
    ) -> Result<Response<api::RevokeKeyResponse>, Status> {
        self.answer(request, keys::revoke).await
    }

    async fn set_tenant_controls(
        &self,
        request: Request<api::SetTenantControlsRequest>,
    ) -> Result<Response<api::SetTenantControlsResponse>, Status> {
        self.answer(request, tenants::set_controls).await
    }

    async fn get_tenant_controls(
        &self,
        request: Request<api::GetTenantControlsRequest>,
    ) -> Result<Response<api::GetTenantControlsResponse>, Status> {
        self.answer(request, tenants::get_controls).await
    }

    async fn list_audit(
        &self,
        request: Request<api::ListAuditRequest>,
    ) -> Result<Response<api::ListAuditResponse>, Status> {
        self.answer(request, audit::list).await
    }
}

/// Asks the Queue's `AccessService`; the request is kept, so that it can be sent again.
macro_rules! ask_access {
    ($gateway:expr, $repeat:expr, $call:expr, $method:ident($request:expr)) => {{
        let request = $request;
        let send = |channel| {
            let request = request.clone();
            async move {
                hashmesh::queue::v1::access_service_client::AccessServiceClient::new(channel).$method(request).await
            }
        };
        $gateway.queue.call($repeat, $call.deadline, send).await
    }};
}
use ask_access;
