//! `AdminService`: keys, tenants, workers, the audit trail. What it needs to know is kept by the Queue; secrets are made here and
//! leave for the caller only.

pub(crate) mod audit;
mod keys;
mod tenants;
mod validate;
mod workers;

use hashmesh::{admin::v1 as api, admin::v1::admin_service_server::AdminService};
use tonic::{Request, Response, Status};

use crate::service::Gateway;

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct Administration {
    gateway: Gateway,
}

impl Administration {
    pub(crate) fn new(gateway: Gateway) -> Self {
        Self { gateway }
    }
}

#[tonic::async_trait]
impl AdminService for Administration {
    async fn create_key(
        &self,
        request: Request<api::CreateKeyRequest>,
    ) -> Result<Response<api::CreateKeyResponse>, Status> {
        self.gateway.answer(request, |request, call| keys::create(&self.gateway, request, call)).await
    }

    async fn list_keys(
        &self,
        request: Request<api::ListKeysRequest>,
    ) -> Result<Response<api::ListKeysResponse>, Status> {
        self.gateway.answer(request, |request, call| keys::list(&self.gateway, request, call)).await
    }

    async fn rotate_key(
        &self,
        request: Request<api::RotateKeyRequest>,
    ) -> Result<Response<api::RotateKeyResponse>, Status> {
        self.gateway.answer(request, |request, call| keys::rotate(&self.gateway, request, call)).await
    }

    async fn set_key_limits(
        &self,
        request: Request<api::SetKeyLimitsRequest>,
    ) -> Result<Response<api::SetKeyLimitsResponse>, Status> {
        self.gateway.answer(request, |request, call| keys::set_limits(&self.gateway, request, call)).await
    }

    async fn revoke_key(
        &self,
        request: Request<api::RevokeKeyRequest>,
    ) -> Result<Response<api::RevokeKeyResponse>, Status> {
        self.gateway.answer(request, |request, call| keys::revoke(&self.gateway, request, call)).await
    }

    async fn set_tenant_controls(
        &self,
        request: Request<api::SetTenantControlsRequest>,
    ) -> Result<Response<api::SetTenantControlsResponse>, Status> {
        self.gateway.answer(request, |request, call| tenants::set_controls(&self.gateway, request, call)).await
    }

    async fn get_tenant_controls(
        &self,
        request: Request<api::GetTenantControlsRequest>,
    ) -> Result<Response<api::GetTenantControlsResponse>, Status> {
        self.gateway.answer(request, |request, call| tenants::get_controls(&self.gateway, request, call)).await
    }

    async fn list_workers(
        &self,
        request: Request<api::ListWorkersRequest>,
    ) -> Result<Response<api::ListWorkersResponse>, Status> {
        self.gateway.answer(request, |_, call| workers::list(&self.gateway, call)).await
    }

    async fn set_worker_draining(
        &self,
        request: Request<api::SetWorkerDrainingRequest>,
    ) -> Result<Response<api::SetWorkerDrainingResponse>, Status> {
        self.gateway.answer(request, |request, call| workers::set_draining(&self.gateway, request, call)).await
    }

    async fn list_audit(
        &self,
        request: Request<api::ListAuditRequest>,
    ) -> Result<Response<api::ListAuditResponse>, Status> {
        self.gateway.answer(request, |request, call| audit::list(&self.gateway, request, call)).await
    }
}

/// Asks the Queue's `AccessService`.
macro_rules! ask_access {
    ($gateway:expr, $repeat:expr, $call:expr, $method:ident($request:expr)) => {
        $crate::upstream::ask_queue!(
            $gateway.queue,
            $crate::service::access_client,
            $crate::upstream::Route::Any,
            $repeat,
            $call.deadline,
            $method($request)
        )
    };
}
use ask_access;
