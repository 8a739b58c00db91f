//! Which role may call what: the one table.
//!
//! It holds where certificates are shown. Inner services want one from everybody; the Gateway's callers may have one, and
//! what *they* may do is otherwise decided by their API keys. A method of an inner service that stands nowhere here fails a
//! test, and its calls.

use super::identity::Role;

/// Who may call a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// Whoever got here: keys decide, or nothing is told that matters.
    Anybody,
    /// Services of this role, of our own trust domain.
    Only(Role),
    /// Services of one of these roles, the same way.
    OneOf(&'static [Role]),
    /// Whoever is none of these, by any URI of its certificate, of whatever trust domain.
    AnybodyBut(&'static [Role]),
}

/// The services behind the Gateway.
const INNER: &[Role] = &[Role::Queue, Role::Hash, Role::Worker, Role::Cache];

/// The rule for a path `/package.Service/Method`. `None`: it stands nowhere.
pub(super) fn rule(path: &str) -> Option<Rule> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    match service {
        "grpc.health.v1.Health"
        | "grpc.reflection.v1.ServerReflection"
        | "grpc.reflection.v1alpha.ServerReflection"
        | "hashmesh.gateway.v1.GatewayService" => Some(Rule::Anybody),
        // Keys and tenants are no business of the services behind the Gateway.
        "hashmesh.admin.v1.AdminService" => Some(Rule::AnybodyBut(INNER)),
        "hashmesh.hash.v1.HashService" => match method {
            "ComputeDigest" | "ComputeDigestStream" => Some(Rule::Only(Role::Gateway)),
            _ => None,
        },
        "hashmesh.queue.v1.QueueService" => match method {
            "LeaseTasks" => Some(Rule::Only(Role::Worker)),
            "WatchShards" => Some(Rule::OneOf(&[Role::Gateway, Role::Worker])),
            "WriteSubmission" | "CreateSubmission" | "AppendBatch" | "SealSubmission" | "SubmitBatch"
            | "GetSubmission" | "ListSubmissions" | "WatchSubmission" | "CancelSubmission" | "ListResults"
            | "StreamResults" | "RetryTasks" | "SetControls" | "GetControls" | "SetWorkerDraining"
            | "GetQueueStats" => Some(Rule::Only(Role::Gateway)),
            _ => None,
        },
        "hashmesh.queue.v1.AccessService" => match method {
            "FindKey" | "CreateKey" | "ListKeys" | "RotateKey" | "SetKeyLimits" | "RevokeKey" | "NoteKeyUses"
            | "NoteAudit" | "ListAudit" => Some(Rule::Only(Role::Gateway)),
            _ => None,
        },
        "hashmesh.queue.v1.ScheduleService" => match method {
            "CreateSchedule" | "GetSchedule" | "ListSchedules" | "DeleteSchedule" => Some(Rule::Only(Role::Gateway)),
            _ => None,
        },
        "hashmesh.queue.v1.UploadService" => match method {
            "OpenUpload" | "StoreBytes" | "SealUpload" | "CompleteUpload" | "GetUpload" | "DeleteUpload" => {
                Some(Rule::Only(Role::Gateway))
            }
            _ => None,
        },
        "hashmesh.cache.v1.CacheService" => match method {
            "GetEntries" | "PutEntries" => Some(Rule::Only(Role::Worker)),
            "InvalidateEntries" | "WarmEntries" | "GetCacheStats" => Some(Rule::Only(Role::Gateway)),
            _ => None,
        },
        "hashmesh.cache.v1.QuotaService" => match method {
            "TakeQuota" => Some(Rule::Only(Role::Gateway)),
            _ => None,
        },
        // Envoy is nothing of ours, so its certificate names no role.
        "envoy.service.ratelimit.v3.RateLimitService" => match method {
            "ShouldRateLimit" => Some(Rule::AnybodyBut(INNER)),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use hashmesh::FILE_DESCRIPTOR_SET;
    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;

    /// Every method of the API, as a path.
    fn paths() -> Vec<String> {
        let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap().file;
        let services = files.iter().flat_map(|file| file.service.iter().map(|service| (file.package(), service)));
        services
            .flat_map(|(package, service)| {
                let path = |name: &str| format!("/{package}.{}/{name}", service.name());
                service.method.iter().map(|method| path(method.name())).collect::<Vec<_>>()
            })
            .collect()
    }

    #[test]
    fn every_method_stands_in_the_table_and_what_is_not_public_has_its_role() {
        let paths = paths();
        assert!(paths.len() > 40, "{paths:?}");
        for path in paths {
            let rule = rule(&path).unwrap_or_else(|| panic!("{path} stands nowhere in `rule`"));
            let public =
                ["/hashmesh.gateway.", "/hashmesh.admin.", "/envoy."].iter().any(|start| path.starts_with(start));
            assert_eq!(matches!(rule, Rule::Only(_) | Rule::OneOf(_)), !public, "{path}: {rule:?}");
        }
    }

    #[test]
    fn a_worker_takes_leases_asks_who_has_them_and_nothing_else_of_the_mesh_is_for_it() {
        let for_worker = |path: &String| match rule(path) {
            Some(Rule::Only(role)) => role == Role::Worker,
            Some(Rule::OneOf(roles)) => roles.contains(&Role::Worker),
            _ => false,
        };
        let mut of_worker: Vec<String> = paths().into_iter().filter(for_worker).collect();
        of_worker.sort_unstable();
        let cache = ["GetEntries", "PutEntries"].map(|method| format!("/hashmesh.cache.v1.CacheService/{method}"));
        let queue = ["LeaseTasks", "WatchShards"].map(|method| format!("/hashmesh.queue.v1.QueueService/{method}"));
        assert_eq!(of_worker, [cache, queue].concat());
        for path in ["/hashmesh.queue.v1.QueueService/New", "/hashmesh.hash.v1.HashService/", "/a.B/C", "", "/"] {
            assert_eq!(rule(path), None, "{path}");
        }
    }
}
