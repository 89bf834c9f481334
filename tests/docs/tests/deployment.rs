//! What `docs/deployment.md` shows is consistent in itself and with the code: names and ports refer to each other, and each environment is a
//! configuration that a node can start with.

use std::collections::BTreeMap;

use noex_proto::{Cause, ClusterConfig, defaults};
use saphyr::{LoadableYamlNode, ScalarOwned, YamlOwned};
use serde_json::Value;

const TEXT: &str = include_str!("../../../docs/deployment.md");

/// The code blocks in a language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("\n```{language}\n");
    TEXT.split(&fence).skip(1).map(|rest| rest.split("\n```").next().expect("a first part")).collect()
}

fn json(yaml: &YamlOwned) -> Value {
    match yaml {
        YamlOwned::Value(ScalarOwned::Null) => Value::Null,
        YamlOwned::Value(ScalarOwned::Boolean(value)) => (*value).into(),
        YamlOwned::Value(ScalarOwned::Integer(value)) => (*value).into(),
        YamlOwned::Value(ScalarOwned::String(value)) => value.clone().into(),
        YamlOwned::Sequence(items) => items.iter().map(json).collect(),
        YamlOwned::Mapping(pairs) => {
            let pairs = pairs.iter().map(|(key, value)| (json(key).as_str().expect("a text as a key").to_owned(), json(value)));
            Value::Object(pairs.collect())
        }
        other => panic!("no manifest needs {other:?}"),
    }
}

/// All documents of YAML, in their order.
fn documents() -> Vec<Value> {
    let load = |text: &str| YamlOwned::load_from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    blocks("yaml").into_iter().flat_map(load).map(|document| json(&document)).collect()
}

fn of_kind(kind: &str) -> Vec<Value> {
    documents().into_iter().filter(|document| document["kind"] == kind).collect()
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("a list, not {value}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("a text, not {value}"))
}

/// The configuration that a node reads from these variables.
fn configuration(variables: &BTreeMap<String, String>) -> Value {
    let file = |path: &str| {
        assert!(path.starts_with("/run/"), "{path}");
        Ok::<_, Cause>(b"correct horse battery staple\n".to_vec())
    };
    let config = ClusterConfig::from_variables("NOEX_", variables, file).unwrap_or_else(|error| panic!("{error}"));
    assert!(variables.contains_key("NOEX_CLUSTER_SECRET_FILE"), "nobody is shown a cluster that is open to all");
    serde_json::to_value(config).expect("it can be written")
}

fn ports(service: &Value) -> BTreeMap<&str, &Value> {
    list(&service["spec"]["ports"]).iter().map(|port| (text(&port["name"]), port)).collect()
}

/// The value of each variable of a container; what the platform fills in is an example of it.
fn environment(container: &Value) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for variable in list(&container["env"]) {
        let mut value = match variable["valueFrom"]["fieldRef"]["fieldPath"].as_str() {
            Some("metadata.name") => "app-6d4cf56db6-x2k4q".to_owned(),
            Some("status.podIP") => "10.1.2.3".to_owned(),
            Some(other) => panic!("what is {other}?"),
            None => text(&variable["value"]).to_owned(),
        };
        // The platform fills in what was set before.
        for (name, known) in &variables {
            let known: &String = known;
            value = value.replace(&format!("$({name})"), known);
        }
        assert!(!value.contains('$'), "{value}");
        variables.insert(text(&variable["name"]).to_owned(), value);
    }
    variables
}

#[test]
fn pods_and_services_refer_to_each_other() {
    let services = of_kind("Service");
    let [peers, clients] = &services[..] else { panic!("two services") };
    // The one leads to all pods, ready or not; the other to those that are ready.
    assert_eq!((text(&peers["spec"]["clusterIP"]), &peers["spec"]["publishNotReadyAddresses"]), ("None", &true.into()));
    assert!(clients["spec"]["clusterIP"].is_null() && clients["spec"]["publishNotReadyAddresses"].is_null());
    let [deployment] = &of_kind("Deployment")[..] else { panic!("one deployment") };
    let [stateful] = &of_kind("StatefulSet")[..] else { panic!("one stateful set") };
    assert_eq!(stateful["spec"]["serviceName"], peers["metadata"]["name"]);
    assert_eq!(stateful["spec"]["podManagementPolicy"], "Parallel", "none waits for another one to be ready");
    assert_eq!(documents().iter().filter(|document| document["kind"].is_string()).count(), 4, "none is left out here");

    for workload in [deployment, stateful] {
        assert_eq!(workload["apiVersion"], "apps/v1");
        let (template, pod) = (&workload["spec"]["template"], &workload["spec"]["template"]["spec"]);
        for service in &services {
            assert_eq!(service["apiVersion"], "v1");
            assert_eq!(service["spec"]["selector"], template["metadata"]["labels"]);
        }
        assert_eq!(workload["spec"]["selector"]["matchLabels"], template["metadata"]["labels"]);
        // Otherwise a service of the name noex would set variables that are none.
        assert_eq!(pod["enableServiceLinks"], false);
        let [container] = &list(&pod["containers"])[..] else { panic!("one container") };

        let open: BTreeMap<&str, &Value> =
            list(&container["ports"]).iter().map(|port| (text(&port["name"]), &port["containerPort"])).collect();
        assert_eq!(open["noex"], defaults::PORT);
        assert_eq!(&ports(peers)["noex"]["port"], open["noex"], "what a seed names is what is listened on");
        for port in services.iter().flat_map(|service| list(&service["spec"]["ports"])) {
            assert!(open.contains_key(text(&port["targetPort"])), "{port}");
        }
        for (probe, path) in [("livenessProbe", "/live"), ("readinessProbe", "/ready")] {
            let get = &container[probe]["httpGet"];
            assert!(open.contains_key(text(&get["port"])), "{get}");
            assert_eq!(get["path"], path);
            assert!(
                TEXT.contains(&format!("{} {path}", if path == "/live" { "behind" } else { "and" })),
                "the program serves it"
            );
        }

        let config = configuration(&environment(container));
        let seed = format!("{}:{}", text(&peers["metadata"]["name"]), defaults::PORT);
        assert_eq!(config["seeds"], Value::from(vec![seed]));
        // Each pod is known by itself, and not by a name that leads to all.
        assert_ne!(config["advertise_host"], peers["metadata"]["name"]);
        assert!(config["advertise_host"].is_string());
        let pause = container["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().expect("seconds");
        let grace = pod["terminationGracePeriodSeconds"].as_u64().expect("seconds");
        let stop = config["stop_timeout_ms"].as_u64().expect("milliseconds");
        assert!(grace * 1000 > pause * 1000 + stop, "the leave is cut off");

        // The secret is where the variable says.
        let [volume] = &list(&pod["volumes"])[..] else { panic!("one volume") };
        let [mount] = &list(&container["volumeMounts"])[..] else { panic!("one mount") };
        assert_eq!(mount["name"], volume["name"]);
        let file = &environment(container)["NOEX_CLUSTER_SECRET_FILE"];
        let key = file.strip_prefix(&format!("{}/", text(&mount["mountPath"]))).expect("in the mounted folder");
        let command = format!("kubectl create secret generic {} --from-literal={key}=", text(&volume["secret"]["secretName"]));
        assert!(TEXT.contains(&command), "{command}");
    }
}

#[test]
fn containers_are_told_as_they_are_reached() {
    let composes: Vec<Value> = documents().into_iter().filter(|document| document["services"].is_object()).collect();
    let [together, published] = &composes[..] else { panic!("two compose files") };
    for compose in [together, published] {
        for (name, service) in compose["services"].as_object().expect("services") {
            let variables = service["environment"].as_object().expect("variables");
            let variables = variables.iter().map(|(name, value)| (name.clone(), text(value).to_owned())).collect();
            let config = configuration(&variables);
            assert_eq!(config["node_name"], **name);
            let told = config["advertise_port"].as_u64().unwrap_or_else(|| config["port"].as_u64().expect("a port"));
            match service["ports"].as_array() {
                // By the name of the service, without a published port.
                None => assert_eq!((&config["advertise_host"], told), (&name.clone().into(), defaults::PORT.into())),
                Some(ports) => {
                    let [port] = &ports[..] else { panic!("one port") };
                    assert_eq!(text(port), format!("{told}:{}", config["port"]), "the published port is told");
                    let own = format!("{}:{told}", text(&config["advertise_host"]));
                    assert!(list(&config["seeds"]).contains(&own.into()));
                }
            }
            let grace: u64 = text(&service["stop_grace_period"]).strip_suffix('s').expect("seconds").parse().expect("a number");
            assert!(grace * 1000 > config["stop_timeout_ms"].as_u64().expect("milliseconds"));
            for secret in list(&service["secrets"]) {
                assert!(compose["secrets"][text(secret)]["file"].is_string());
                assert_eq!(variables["NOEX_CLUSTER_SECRET_FILE"], format!("/run/secrets/{}", text(secret)));
            }
        }
    }
}

/// The assignments of each section of a unit, in their order.
fn sections(unit: &str) -> BTreeMap<&str, Vec<(&str, &str)>> {
    let mut sections = BTreeMap::<&str, Vec<(&str, &str)>>::new();
    let mut section = None;
    for line in unit.lines().filter(|line| !line.is_empty()) {
        match line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            Some(name) => section = Some(name),
            None => {
                let assignment = line.split_once('=').unwrap_or_else(|| panic!("no assignment: {line}"));
                sections.entry(section.expect("a section first")).or_default().push(assignment);
            }
        }
    }
    sections
}

#[test]
fn the_unit_waits_for_the_network_and_for_the_leave() {
    let [unit] = blocks("ini")[..] else { panic!("one unit") };
    let sections = sections(unit);
    assert_eq!(sections.keys().copied().collect::<Vec<_>>(), ["Install", "Service", "Unit"]);
    for key in ["Wants", "After"] {
        assert!(sections["Unit"].contains(&(key, "network-online.target")), "both are needed: {key}");
    }
    let service: BTreeMap<&str, &str> = sections["Service"].iter().copied().collect();
    let variables = sections["Service"].iter().filter(|(key, _)| *key == "Environment").map(|(_, assignment)| {
        let (name, value) = assignment.split_once('=').expect("an assignment");
        (name.to_owned(), value.replace("%l", "host-1").replace("%d", "/run/credentials/app.service"))
    });
    let variables: BTreeMap<String, String> = variables.collect();
    let config = configuration(&variables);
    assert_eq!(list(&config["seeds"]).len(), 2);
    let stop: u64 = service["TimeoutStopSec"].parse().expect("seconds");
    assert!(stop * 1000 > config["stop_timeout_ms"].as_u64().expect("milliseconds"));
    let (credential, _) = service["LoadCredential"].split_once(':').expect("a name and a file");
    assert!(variables["NOEX_CLUSTER_SECRET_FILE"].ends_with(&format!("/{credential}")));
}
