//! The configuration, as a user writes it and as a file holds it.

use std::time::Duration;

use noex_proto::{ClusterConfig, InvalidClusterConfigError, Limits, Secret, bounds, defaults};
use proptest::prelude::*;
use serde_json::{Value, json};

const SECRET: &str = "correct horse battery staple";

fn config() -> ClusterConfig {
    ClusterConfig::new("app1")
}

fn fault(config: &ClusterConfig) -> InvalidClusterConfigError {
    config.check().unwrap_err()
}

fn read(value: Value) -> Result<ClusterConfig, serde_json::Error> {
    serde_json::from_value(value)
}

#[test]
fn the_bounds_are_those_of_the_documentation() {
    let (days, minutes, millis) = (24 * 60 * 60, 60, Duration::from_millis);
    assert_eq!(bounds::ACCEPTED_SECRETS, 8);
    assert_eq!(bounds::CLUSTER_NAME_BYTES, 1..=255);
    assert_eq!(bounds::FORGET_AFTER, millis(1000)..=Duration::from_secs(30 * days));
    assert_eq!(bounds::HEARTBEAT_INTERVAL, millis(100)..=Duration::from_secs(10 * minutes));
    assert_eq!(bounds::HEARTBEAT_MISS_THRESHOLD, 1..=1000);
    assert_eq!(bounds::MESSAGE_BYTES, 1..=1024 * 1024 * 1024);
    assert_eq!(bounds::RECONNECT_DELAY, millis(1)..=Duration::from_secs(60 * minutes));
    assert_eq!(bounds::SECRET_BYTES, 16..=1024);
    assert_eq!(bounds::START_TIMEOUT, millis(100)..=Duration::from_secs(10 * minutes));
    assert_eq!(bounds::STOP_TIMEOUT, millis(100)..=Duration::from_secs(10 * minutes));
}

#[test]
fn the_defaults_are_those_of_the_original() {
    assert_eq!(defaults::HOST, "0.0.0.0");
    assert_eq!(defaults::PORT, 4369);
    assert_eq!(defaults::HEARTBEAT_INTERVAL, Duration::from_millis(5000));
    assert_eq!(defaults::HEARTBEAT_MISS_THRESHOLD, 3);
    assert_eq!(defaults::RECONNECT_BASE_DELAY, Duration::from_millis(1000));
    assert_eq!(defaults::RECONNECT_MAX_DELAY, Duration::from_millis(30_000));
    assert_eq!(defaults::PROTOCOL_VERSION, 1);
    assert_eq!(config().check(), Ok(()));
}

#[test]
fn each_field_has_its_rule() {
    let millis = Duration::from_millis;
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    for (field, config) in [
        ("node_name", ClusterConfig::new("")),
        ("node_name", ClusterConfig::new("app1.example")),
        ("node_name", ClusterConfig::new("-app")),
        ("node_name", ClusterConfig::new("x".repeat(65))),
        ("host", config().host("")),
        ("host", config().host("1.2.3")),
        ("advertise_host", config().advertise_host("my host")),
        ("advertise_host", config().advertise_host("0.0.0.0")),
        ("advertise_host", config().advertise_host("[::]")),
        ("advertise_port", config().advertise_port(0)),
        ("seeds", config().seeds(["a@h:1", "a@h"])),
        ("cluster_name", config().cluster_name("")),
        ("cluster_name", config().cluster_name("x".repeat(256))),
        ("cluster_secret", config().cluster_secret("")),
        ("cluster_secret", config().cluster_secret("x".repeat(15))),
        ("cluster_secret", config().cluster_secret("x".repeat(1025))),
        ("accepted_secrets", config().accepted_secrets([SECRET])),
        ("accepted_secrets", config().cluster_secret(SECRET).accepted_secrets([""])),
        ("accepted_secrets", config().cluster_secret(SECRET).accepted_secrets([SECRET; 9])),
        ("heartbeat_interval", config().heartbeat_interval(millis(99))),
        ("heartbeat_interval", config().heartbeat_interval(millis(600_001))),
        ("heartbeat_miss_threshold", config().heartbeat_miss_threshold(0)),
        ("heartbeat_miss_threshold", config().heartbeat_miss_threshold(1001)),
        ("reconnect_base_delay", config().reconnect_base_delay(Duration::ZERO)),
        ("reconnect_base_delay", config().reconnect_base_delay(millis(30_001))),
        ("reconnect_max_delay", config().reconnect_max_delay(hours(1) + millis(1))),
        ("forget_after", config().forget_after(millis(999))),
        ("forget_after", config().forget_after(hours(24 * 30) + millis(1))),
        ("start_timeout", config().start_timeout(millis(99))),
        ("start_timeout", config().start_timeout(millis(600_001))),
        ("stop_timeout", config().stop_timeout(millis(99))),
        ("stop_timeout", config().stop_timeout(millis(600_001))),
    ] {
        let error = fault(&config);
        assert_eq!(error.field(), field);
        assert!(error.reason().contains(field) && error.reason().len() > field.len() + 10, "{}", error.reason());
        assert_eq!(error.to_string(), format!("invalid cluster configuration: {}", error.reason()));
    }
}

#[test]
fn values_at_the_bounds_are_valid() {
    let (shortest_interval, longest_interval) = bounds::HEARTBEAT_INTERVAL.into_inner();
    let (shortest_delay, longest_delay) = bounds::RECONNECT_DELAY.into_inner();
    for config in [
        config().heartbeat_interval(shortest_interval).heartbeat_miss_threshold(1),
        config().heartbeat_interval(longest_interval).heartbeat_miss_threshold(1000),
        config().reconnect_base_delay(shortest_delay).reconnect_max_delay(shortest_delay),
        config().reconnect_base_delay(longest_delay).reconnect_max_delay(longest_delay),
        config().cluster_secret("x".repeat(16)).accepted_secrets(vec!["x".repeat(1024); 8]),
        config().cluster_name("x").port(0).host("::1").advertise_host("[::1]"),
        config().cluster_name("x".repeat(255)).host("localhost").seeds(Vec::<String>::new()),
    ] {
        assert_eq!(config.check(), Ok(()));
    }
}

#[test]
fn each_limit_has_its_rule() {
    let zeroed = serde_json::to_value(Limits::default()).unwrap();
    for field in zeroed.as_object().unwrap().keys() {
        let mut zeroed = zeroed.clone();
        zeroed[field] = 0.into();
        let error = fault(&config().limits(serde_json::from_value(zeroed).unwrap()));
        assert_eq!(error.field(), format!("limits.{field}"));
    }
    let limits = Limits::default();
    for (field, limits) in [
        ("limits.message_bytes", limits.clone().message_bytes((1 << 30) + 1)),
        ("limits.send_queue_bytes", limits.clone().send_queue_bytes(limits.message_bytes - 1)),
        ("limits.mailbox_bytes", limits.clone().mailbox_bytes(limits.message_bytes - 1)),
        ("limits.mailboxes_bytes", limits.clone().mailboxes_bytes(limits.message_bytes - 1)),
        ("limits.message_bytes_per_subscriber", limits.clone().message_bytes_per_subscriber(limits.message_bytes - 1)),
        ("limits.half_open_per_address", limits.half_open_per_address(257)),
    ] {
        let error = fault(&config().limits(limits));
        assert_eq!(error.field(), field);
        assert!(error.reason().contains(field));
    }
}

#[test]
fn seeds_count_once() {
    let limited = |seeds: &[&str]| config().limits(Limits::default().members(2)).seeds(seeds).check();
    assert_eq!(limited(&["a@h:1", "a@H:1", "b@h:1", "a@h:1"]), Ok(()));
    assert_eq!(limited(&["a@h:1", "b@h:1", "c@h:1"]).unwrap_err().field(), "seeds");
}

#[test]
fn a_secret_can_be_given_in_every_usual_form() {
    let owned = SECRET.to_owned();
    for config in [
        config().cluster_secret(SECRET),
        config().cluster_secret(owned.clone()),
        config().cluster_secret(SECRET.as_bytes()),
        config().cluster_secret(Secret::from(SECRET)),
        config().cluster_secret(Some(SECRET)),
        config().cluster_secret(Some(owned)),
        config().cluster_secret(Some(Secret::from(SECRET))),
    ] {
        assert!(format!("{config:?}").contains("cluster_secret: Some"));
    }
    let unset = config().cluster_secret(SECRET).cluster_secret(None::<String>);
    assert!(format!("{unset:?}").contains("cluster_secret: None"));
}

#[test]
fn a_secret_is_never_shown() {
    let valid = config().cluster_secret("hunter2 hunter2 hunter2").accepted_secrets(["hunter2 hunter2 hunter2"]);
    assert!(!format!("{valid:?} {valid:#?}").contains("hunter"));
    assert!(!serde_json::to_string(&valid).unwrap().contains("hunter"));
    assert!(!serde_json::to_string(&valid).unwrap().contains("secret"));
    assert!(!fault(&valid.cluster_secret("hunter2")).to_string().contains("hunter"));
}

#[test]
fn an_error_quotes_little() {
    let error = fault(&config().host("h:".repeat(100_000)));
    assert!(error.reason().len() < 300, "{}", error.reason());
}

#[test]
fn a_file_needs_only_the_name() {
    let config = read(json!({ "node_name": "app1" })).unwrap();
    assert_eq!(format!("{config:?}"), format!("{:?}", ClusterConfig::new("app1")));
    assert!(read(json!({})).unwrap_err().to_string().contains("node_name"));
}

#[test]
fn a_file_of_the_original_is_understood() {
    let camel = json!({
        "nodeName": "app1", "host": "::1", "port": 1, "seeds": ["a@h:1"], "clusterSecret": SECRET, "heartbeatIntervalMs": 200,
        "heartbeatMissThreshold": 2, "reconnectBaseDelayMs": 3, "reconnectMaxDelayMs": 4,
    });
    let snake = json!({
        "node_name": "app1", "host": "::1", "port": 1, "seeds": ["a@h:1"], "cluster_secret": SECRET, "heartbeat_interval_ms": 200,
        "heartbeat_miss_threshold": 2, "reconnect_base_delay_ms": 3, "reconnect_max_delay_ms": 4,
    });
    let millis = Duration::from_millis;
    let expected = config()
        .host("::1")
        .port(1)
        .seeds(["a@h:1"])
        .cluster_secret(SECRET)
        .heartbeat_interval(millis(200))
        .heartbeat_miss_threshold(2)
        .reconnect_base_delay(millis(3))
        .reconnect_max_delay(millis(4));
    for value in [camel, snake] {
        let config = read(value).unwrap();
        assert_eq!(config.check(), Ok(()));
        assert_eq!(format!("{config:?}"), format!("{expected:?}"));
    }
}

#[test]
fn a_file_with_an_unknown_key_is_refused() {
    for value in [json!({ "node_name": "a", "secret": "x" }), json!({ "node_name": "a", "limits": { "member": 1 } })] {
        assert!(read(value).unwrap_err().to_string().contains("unknown field"));
    }
}

#[test]
fn an_advertised_port_in_a_file_is_one_or_the_error_names_it() {
    let file = |port: Value| read(json!({ "node_name": "a", "advertise_port": port }));
    for port in [-1, 65_536, i64::MAX] {
        let error = file(port.into()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("advertise_port must be 1 to 65535, not {port}")), "{error}");
    }
    assert!(file("4369".into()).unwrap_err().to_string().contains("advertise_port"));
    assert_eq!(fault(&file(0.into()).unwrap()).reason(), "advertise_port must be 1 to 65535, not 0");
    let written = |config: &ClusterConfig| serde_json::to_value(config).unwrap()["advertise_port"].clone();
    for port in [1, 65_535] {
        assert_eq!(written(&file(port.into()).unwrap()), json!(port));
    }
    assert_eq!(written(&file(Value::Null).unwrap()), Value::Null);
}

#[test]
fn a_file_has_no_secret_where_the_key_is_left_out_and_not_by_an_empty_one_or_null() {
    assert_eq!(read(json!({ "node_name": "a" })).unwrap().check(), Ok(()));
    assert_eq!(fault(&read(json!({ "node_name": "a", "cluster_secret": "" })).unwrap()).field(), "cluster_secret");
    for key in ["cluster_secret", "clusterSecret"] {
        let error = read(json!({ "node_name": "a", key: null })).unwrap_err().to_string();
        assert!(error.starts_with("cluster_secret must not be null: leave the key out"), "{error}");
    }
}

#[test]
fn what_stands_in_the_place_of_a_secret_is_not_quoted() {
    for secrets in
        [json!({ "cluster_secret": 1234567 }), json!({ "accepted_secrets": "1234567" }), json!({ "accepted_secrets": [1234567] })]
    {
        let mut file = json!({ "node_name": "a" });
        file.as_object_mut().unwrap().extend(secrets.as_object().unwrap().clone());
        let error = read(file).unwrap_err().to_string();
        assert!(error.contains("secret") && !error.contains("1234567"), "{error}");
    }
}

#[test]
fn the_route_target_is_the_first_seed_that_helps() {
    let target = |config: ClusterConfig| config.route_target().map(|addr| addr.to_string());
    let seeds = ["a@localhost:1", "a@127.0.0.1:1", "a@0.0.0.0:1", "a@db.example.org:1", "a@[2001:db8::1]:2", "a@192.0.2.1:3"];
    assert_eq!(target(config().seeds(seeds)), Some("192.0.2.1:3".into()));
    assert_eq!(target(config().host("::").seeds(seeds)), Some("[2001:db8::1]:2".into()));
    assert_eq!(target(config().seeds(&seeds[..4])), None);
    assert_eq!(target(config().host("10.0.0.1").seeds(seeds)), None);
    assert_eq!(target(config().host("db.example.org").seeds(seeds)), None);
    assert_eq!(target(config().advertise_host("10.0.0.1").seeds(seeds)), None);
}

fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![0..2_000_u64, 0..3_000_000_000_u64].prop_map(Duration::from_millis)
}

prop_compose! {
    fn any_config()(
        name in "[a-z0-9]{0,3}",
        host in "[a-z0-9.:]{0,8}",
        port: u16,
        advertised in proptest::option::of(1..=u16::MAX),
        threshold in 0..1100_u32,
        durations in proptest::array::uniform6(duration()),
        seeds in proptest::collection::vec("[a-z]{1,3}@[a-z]{1,3}:[0-9]{1,3}", 0..4),
    ) -> ClusterConfig {
        let [interval, base, max, forget, start, stop] = durations;
        let config = ClusterConfig::new(name);
        let config = match advertised {
            Some(port) => config.advertise_port(port),
            None => config,
        };
        config
            .host(host)
            .port(port)
            .heartbeat_miss_threshold(threshold)
            .heartbeat_interval(interval)
            .reconnect_base_delay(base)
            .reconnect_max_delay(max)
            .forget_after(forget)
            .start_timeout(start)
            .stop_timeout(stop)
            .seeds(seeds)
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(config in any_config()) {
        let text = serde_json::to_string(&config).unwrap();
        let back: ClusterConfig = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(format!("{back:?}"), format!("{config:?}"));
        prop_assert_eq!(back.check(), config.check());
    }

    #[test]
    fn a_fault_always_names_its_field(config in any_config()) {
        if let Err(error) = config.check() {
            prop_assert!(error.reason().starts_with(error.field()));
        }
    }

    #[test]
    fn intervals_are_valid_within_their_bounds_only(interval in duration()) {
        let valid = config().heartbeat_interval(interval).check().is_ok();
        prop_assert_eq!(valid, (Duration::from_millis(100)..=Duration::from_secs(600)).contains(&interval));
    }

    #[test]
    fn delays_are_valid_in_order_only(base in duration(), max in duration()) {
        let valid = config().reconnect_base_delay(base).reconnect_max_delay(max).check().is_ok();
        prop_assert_eq!(valid, !base.is_zero() && base <= max && max <= Duration::from_secs(3600));
    }
}
