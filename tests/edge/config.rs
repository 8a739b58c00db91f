//! What Envoy is given: valid, made from its sources, and about the same RPCs as the binary.

use std::{collections::BTreeSet, fs};

use hashmesh::FILE_DESCRIPTOR_SET;
use prost::Message as _;
use prost_types::{FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto};

use crate::support::{
    cli::program,
    envoy::{program_path, repository},
    reflect::path_with_tools,
    rundir,
};

/// The services that are for the outside.
const PUBLIC: [&str; 2] = ["hashmesh.gateway.v1.GatewayService", "hashmesh.admin.v1.AdminService"];

fn text_of(name: &str) -> String {
    let path = repository().join("envoy").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The public RPCs: the service, and the method.
fn public_methods() -> Vec<(&'static str, MethodDescriptorProto)> {
    let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap().file;
    let services = files.iter().flat_map(|file| file.service.iter().map(move |service| (file.package(), service)));
    let methods = services.flat_map(|(package, service)| {
        let name = format!("{package}.{}", service.name());
        let public = PUBLIC.into_iter().find(|public| *public == name);
        public.into_iter().flat_map(|public| service.method.iter().map(move |method| (public, method.clone())))
    });
    methods.collect()
}

#[tokio::test]
async fn every_configuration_passes_envoys_own_validation() {
    let mut names: Vec<_> = fs::read_dir(repository().join("envoy"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("envoy") && name.ends_with(".yaml"))
        .collect();
    names.sort();
    assert_eq!(names, ["envoy.dev.yaml", "envoy.yaml"]);
    for name in names {
        let arguments = ["--mode", "validate", "-c", &format!("envoy/{name}")].map(str::to_owned);
        let ended = program(program_path(), arguments).in_directory(repository()).run().await.succeeded();
        assert_eq!(ended.text().trim(), format!("configuration 'envoy/{name}' OK"), "{}", ended.stderr);
        assert!(!ended.stderr.contains("[warning]"), "{name}: {}", ended.stderr);
    }
}

#[tokio::test]
async fn what_envoy_is_given_is_what_its_sources_and_the_protos_make() {
    let directory = rundir::directory("made-for-envoy");
    let script = repository().join("tests/tools/envoy.sh");
    program(script, [&directory]).env("PATH", &path_with_tools()).run().await.succeeded();
    for name in
        ["envoy.yaml", "envoy.dev.yaml", "lb/gateway.yaml", "lb/gateway.dev.yaml", "hashmesh.binpb", "openapi.yaml"]
    {
        let (made, given) =
            (fs::read(directory.join(name)).unwrap(), fs::read(repository().join("envoy").join(name)).unwrap());
        assert!(made == given, "envoy/{name} is not what `make envoy` makes");
    }
}

#[test]
fn the_transcoders_descriptor_says_of_every_message_what_the_binary_says() {
    let bytes = fs::read(repository().join("envoy/hashmesh.binpb")).unwrap();
    let given = FileDescriptorSet::decode(&*bytes).unwrap().file;
    let ours = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap().file;
    let services: BTreeSet<String> = given
        .iter()
        .flat_map(|file| file.service.iter().map(|service| format!("{}.{}", file.package(), service.name())))
        .collect();
    assert_eq!(services, PUBLIC.map(str::to_owned).into());
    for file in given.iter().filter(|file| file.package().starts_with("hashmesh.")) {
        let ours = ours.iter().find(|ours| ours.name() == file.name()).unwrap_or_else(|| panic!("no {}", file.name()));
        // Messages that nothing public uses are left out of it.
        let lists =
            |file: &FileDescriptorProto| (file.message_type.clone(), file.enum_type.clone(), file.service.clone());
        let ((messages, enums, services), (all_messages, all_enums, all_services)) = (lists(file), lists(ours));
        assert!(!messages.is_empty() || !enums.is_empty());
        for message in messages {
            assert!(all_messages.contains(&message), "{}: {} is another one", file.name(), message.name());
        }
        for found in enums {
            assert!(all_enums.contains(&found), "{}: {} is another one", file.name(), found.name());
        }
        for service in services {
            let same = all_services.iter().any(|ours| ours.name == service.name && ours.method == service.method);
            assert!(same, "{}: {} is another one", file.name(), service.name());
        }
    }
}

#[test]
fn every_stream_has_a_route_without_a_timeout_and_every_rpc_a_counter() {
    let text = text_of("envoy.dev.yaml");
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    for (service, method) in public_methods() {
        let (name, path) = (method.name(), format!("/{service}/{}", method.name()));
        if method.client_streaming() || method.server_streaming() {
            let line = lines.iter().position(|line| line.contains(&format!("{{path: {path}}}")));
            let line = line.unwrap_or_else(|| panic!("{path} has no route of its own"));
            let route = lines[line..].iter().take(2).any(|line| line.contains("stream_route"));
            assert!(route, "{path}: its route is not that of streams");
        }
        let list = format!("- name: {service}");
        let counted = lines.iter().position(|line| *line == list).map(|line| lines[line + 1]);
        let counted = counted.unwrap_or_else(|| panic!("{service} has no counters"));
        let names: Vec<_> = counted.trim_start_matches("method_names: [").trim_end_matches(']').split(", ").collect();
        assert!(names.contains(&name), "{path} has no counter");
    }
}

#[test]
fn every_rpc_that_json_can_say_stands_in_the_openapi_file() {
    let text = text_of("openapi.yaml");
    for (service, method) in public_methods() {
        let service = service.rsplit('.').next().unwrap();
        let there = text.contains(&format!("operationId: {service}_{}\n", method.name()));
        // JSON over HTTP/1.1 has no stream of the client's.
        assert_eq!(there, !method.client_streaming(), "{service}/{}", method.name());
    }
}
