//! Which scope each method needs. A method that stands nowhere here fails a test, and its calls.

use hashmesh::v1::Scope;

/// A set of scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scopes(u32);

impl Scopes {
    /// Every scope.
    pub(super) const ALL: Self = Self(u32::MAX);

    /// Those with these numbers. Numbers of a newer version mean nothing here.
    pub(super) fn of(numbers: &[i32]) -> Self {
        let known = numbers.iter().filter_map(|number| Scope::try_from(*number).ok());
        Self(known.filter(|scope| *scope != Scope::Unspecified).fold(0, |bits, scope| bits | 1 << scope as u32))
    }

    pub(super) fn contains(self, scope: Scope) -> bool {
        self.0 & (1 << scope as u32) != 0
    }
}

/// The scope that the method with this path (`/package.Service/Method`) needs. `None`: any key will do.
pub(super) fn needed(path: &str) -> Option<Scope> {
    match path.rsplit_once('/')? {
        ("/hashmesh.gateway.v1.GatewayService", method) => of_gateway(method),
        // Administration, and whatever is not known to need less.
        _ => Some(Scope::Admin),
    }
}

fn of_gateway(method: &str) -> Option<Scope> {
    match method {
        "SubmitTasks" | "CreateSubmission" | "AppendBatch" | "SealSubmission" | "SubmitBatch" | "CancelSubmission"
        | "RetryTasks" | "ComputeDigest" | "ComputeDigestStream" | "CreateSchedule" | "DeleteSchedule"
        | "UploadObject" | "DeleteUpload" | "InvalidateCache" | "WarmCache"
        // Of the tenant's own work. Of everyone's they need `admin` too (`controls.rs`).
        | "PauseWork" | "ResumeWork" | "SetTenantLimits" => Some(Scope::Submit),
        "GetSubmission" | "ListSubmissions" | "WatchSubmission" | "ListResults" | "StreamResults" | "GetControls"
        | "GetStats" | "GetSchedule" | "ListSchedules" | "GetUpload" => Some(Scope::Read),
        // Clients of every kind ask this first.
        "GetCapabilities" => None,
        _ => Some(Scope::Admin),
    }
}

#[cfg(test)]
mod tests {
    use hashmesh::FILE_DESCRIPTOR_SET;
    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;

    #[test]
    fn every_method_of_the_gateway_has_its_scope() {
        let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap().file;
        let methods = |package: &str| {
            let services = files.iter().filter(|file| file.package() == package).flat_map(|file| &file.service);
            services
                .flat_map(|service| service.method.iter().map(|method| method.name().to_owned()))
                .collect::<Vec<_>>()
        };
        for method in methods("hashmesh.gateway.v1") {
            let scope = needed(&format!("/hashmesh.gateway.v1.GatewayService/{method}"));
            assert_ne!(scope, Some(Scope::Admin), "{method} stands nowhere in `of_gateway`");
        }
        assert!(!methods("hashmesh.admin.v1").is_empty());
        for method in methods("hashmesh.admin.v1") {
            assert_eq!(needed(&format!("/hashmesh.admin.v1.AdminService/{method}")), Some(Scope::Admin));
        }
        assert_eq!(needed("/hashmesh.gateway.v1.GatewayService/Unknown"), Some(Scope::Admin));
    }

    #[test]
    fn scopes_are_told_apart() {
        let scopes = Scopes::of(&[Scope::Submit.into(), Scope::Admin.into(), 0, 99]);
        assert!(scopes.contains(Scope::Submit) && scopes.contains(Scope::Admin) && !scopes.contains(Scope::Read));
        assert!(Scopes::ALL.contains(Scope::Read));
    }
}
