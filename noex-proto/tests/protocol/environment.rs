//! A configuration out of environment variables.

use std::collections::BTreeSet;
use std::error::Error;

use noex_proto::{Cause, ClusterConfig, FromEnvError};
use proptest::prelude::*;
use serde_json::Value;

const SECRET: &str = "correct horse battery staple";
const OTHER: &str = "purple monkey dishwasher";

/// Each field's variable, a value that is not the default, and how serde writes that. Secrets are never written.
const FIELDS: [(&str, &str, &str); 41] = [
    ("ADVERTISE_HOST", "node.example", r#""node.example""#),
    ("ADVERTISE_PORT", "31000", "31000"),
    ("CLUSTER_NAME", "shop", r#""shop""#),
    ("FORGET_AFTER_MS", "60000", "60000"),
    ("HEARTBEAT_INTERVAL_MS", "3000", "3000"),
    ("HEARTBEAT_MISS_THRESHOLD", "2", "2"),
    ("HOST", "127.0.0.1", r#""127.0.0.1""#),
    ("LIMITS_CALLS_PER_PEER", "65535", "65535"),
    ("LIMITS_CALLS_SERVED_PER_PEER", "65535", "65535"),
    ("LIMITS_CLOSING_CONNECTIONS", "255", "255"),
    ("LIMITS_CONTROL_MESSAGES", "63", "63"),
    ("LIMITS_DEPARTED_NODES", "1023", "1023"),
    ("LIMITS_DIALS_IN_FLIGHT", "63", "63"),
    ("LIMITS_DIALS_PER_SECOND", "511", "511"),
    ("LIMITS_DISCONNECTED_NODES", "1023", "1023"),
    ("LIMITS_ERROR_REPORTS_PER_SECOND", "15", "15"),
    ("LIMITS_EVENTS_PER_SUBSCRIBER", "1023", "1023"),
    ("LIMITS_HALF_OPEN", "255", "255"),
    ("LIMITS_HALF_OPEN_PER_ADDRESS", "63", "63"),
    ("LIMITS_LOCAL_NAMES", "65535", "65535"),
    ("LIMITS_LOOKUPS_IN_FLIGHT", "31", "31"),
    ("LIMITS_MAILBOXES_BYTES", "2000", "2000"),
    ("LIMITS_MAILBOX_BYTES", "2000", "2000"),
    ("LIMITS_MAILBOX_MESSAGES", "1023", "1023"),
    ("LIMITS_MEMBERS", "4095", "4095"),
    ("LIMITS_MESSAGE_BYTES", "1000", "1000"),
    ("LIMITS_MESSAGE_BYTES_PER_SUBSCRIBER", "2000", "2000"),
    ("LIMITS_MONITORS_PER_PROCESS", "65535", "65535"),
    ("LIMITS_NAMES", "65535", "65535"),
    ("LIMITS_NAMES_OF_OTHERS", "1048575", "1048575"),
    ("LIMITS_PROCESSES", "1048575", "1048575"),
    ("LIMITS_SEND_QUEUE_BYTES", "2000", "2000"),
    ("LIMITS_SEND_WINDOW_BYTES", "1000", "1000"),
    ("LIMITS_WATCHED_NAMES", "65535", "65535"),
    ("NODE_NAME", "app1", r#""app1""#),
    ("PORT", "4370", "4370"),
    ("RECONNECT_BASE_DELAY_MS", "10", "10"),
    ("RECONNECT_MAX_DELAY_MS", "20", "20"),
    ("SEEDS", "b@10.0.0.2:4369, c@10.0.0.3:4369,", r#"["b@10.0.0.2:4369","c@10.0.0.3:4369"]"#),
    ("START_TIMEOUT_MS", "200", "200"),
    ("STOP_TIMEOUT_MS", "100", "100"),
];

const NAME: (&str, &str) = ("NOEX_NODE_NAME", "app1");

fn no_file(path: &str) -> Result<Vec<u8>, Cause> {
    Err(Cause::from(format!("no {path}")))
}

fn read(variables: &[(&str, &str)]) -> Result<ClusterConfig, FromEnvError> {
    ClusterConfig::from_variables("NOEX_", variables.iter().copied(), no_file)
}

fn text(variables: &[(&str, &str)]) -> String {
    read(variables).unwrap_err().to_string()
}

/// The fields of an object, those of an object in it under both names.
fn flat(object: &Value) -> Vec<(String, &Value)> {
    let fields = object.as_object().unwrap().iter().flat_map(|(name, value)| match value {
        Value::Object(inner) => inner.iter().map(|(field, value)| (format!("{name}_{field}"), value)).collect(),
        _ => vec![(name.clone(), value)],
    });
    fields.map(|(name, value)| (name.to_uppercase(), value)).collect()
}

#[test]
fn each_field_has_its_variable() {
    let names: Vec<String> = FIELDS.iter().map(|(name, ..)| format!("NOEX_{name}")).collect();
    let variables: Vec<(&str, &str)> = names.iter().map(String::as_str).zip(FIELDS.map(|(_, value, _)| value)).collect();
    let read = serde_json::to_value(read(&variables).unwrap()).unwrap();
    let expected: BTreeSet<(String, String)> = FIELDS.map(|(name, _, written)| (name.to_owned(), written.to_owned())).into();
    let found: BTreeSet<(String, String)> = flat(&read).into_iter().map(|(name, value)| (name, value.to_string())).collect();
    assert_eq!(found, expected, "a field that is missing above is to be added there");
    let defaults = serde_json::to_value(ClusterConfig::new("default")).unwrap();
    for ((name, value), (_, default)) in flat(&read).iter().zip(flat(&defaults)) {
        assert_ne!(*value, default, "{name}");
    }
}

#[test]
fn an_empty_variable_is_as_one_that_is_not_set() {
    let mut variables: Vec<(String, &str)> = FIELDS.iter().map(|(name, ..)| (format!("NOEX_{name}"), "")).collect();
    variables.extend([("NOEX_ACCEPTED_SECRETS".to_owned(), ""), ("NOEX_ACCEPTED_SECRETS_FILE".to_owned(), "")]);
    let missing = ClusterConfig::from_variables("NOEX_", variables.clone(), no_file).unwrap_err();
    assert_eq!(missing, FromEnvError::Missing { variable: NAME.0.into() });
    variables.retain(|(name, _)| name != NAME.0);
    variables.push((NAME.0.into(), NAME.1));
    let config = ClusterConfig::from_variables("NOEX_", variables, no_file).unwrap();
    assert_eq!(serde_json::to_value(config).unwrap(), serde_json::to_value(ClusterConfig::new("app1")).unwrap());
    // Who sets a secret means to have one.
    let rule = "cluster_secret must have 16 to 1024 bytes, not none: leave it out for a cluster that anyone can join";
    for variable in ["NOEX_CLUSTER_SECRET", "NOEX_CLUSTER_SECRET_FILE"] {
        assert_eq!(text(&[NAME, (variable, "")]), format!("{variable}: {rule}"));
    }
}

#[test]
fn a_bad_variable_is_named_with_its_text_and_its_rule() {
    let malformed = |rule: &str, text: &str, variable: &str| FromEnvError::Malformed {
        rule: rule.into(),
        text: text.into(),
        variable: variable.into(),
    };
    let rule = "must be a whole number from 0 to 65535";
    assert_eq!(read(&[NAME, ("NOEX_PORT", "http")]).unwrap_err(), malformed(rule, "http", "NOEX_PORT"));
    for (variable, value, said) in [
        ("NOEX_PORT", "65536", "NOEX_PORT must be a whole number from 0 to 65535, not \"65536\""),
        ("NOEX_HEARTBEAT_INTERVAL_MS", "5s", "must be a whole number from 0 to 18446744073709551615, not \"5s\""),
        ("NOEX_HEARTBEAT_INTERVAL_MS", "5", "NOEX_HEARTBEAT_INTERVAL_MS: heartbeat_interval must be 100ms to 600s, not 5ms"),
        ("NOEX_HEARTBEAT_MISS_THRESHOLD", "-1", "from 0 to 4294967295, not \"-1\""),
        ("NOEX_LIMITS_MEMBERS", "many", "NOEX_LIMITS_MEMBERS must be a whole number"),
        ("NOEX_LIMITS_MEMBERS", "0", "NOEX_LIMITS_MEMBERS: limits.members must be at least 1, not 0"),
        ("NOEX_SEEDS", "b@10.0.0.2:4369,@", "NOEX_SEEDS: seeds"),
        ("NOEX_HOST", "256.1.1.1", "NOEX_HOST: host \"256.1.1.1\" is invalid"),
    ] {
        let text = text(&[NAME, (variable, value)]);
        assert!(text.contains(said), "{text}");
    }
    // What is invalid keeps its error.
    let error = read(&[NAME, ("NOEX_STOP_TIMEOUT_MS", "1")]).unwrap_err();
    assert!(
        matches!(&error, FromEnvError::Invalid { error, variable } if error.field() == "stop_timeout" && variable == "NOEX_STOP_TIMEOUT_MS")
    );
    assert!(error.source().is_some());
    let not_text = ClusterConfig::from_variables("NOEX_", [("NOEX_HOST", [0xFF])], no_file).unwrap_err();
    assert_eq!(not_text, FromEnvError::NotText { variable: "NOEX_HOST".into() });
    assert_eq!(not_text.to_string(), "NOEX_HOST is not UTF-8");
}

#[test]
fn an_unknown_variable_is_an_error_that_names_it() {
    // What Kubernetes sets for a service of the name noex is found out too.
    for name in
        ["SEED", "PORT_4369_TCP", "SERVICE_HOST", "nodeName", "NODENAME", "node_name", "LIMITS", "LIMITS_", "LIMITS_PORT", ""]
    {
        let variable = format!("NOEX_{name}");
        for value in ["", "1"] {
            let error = read(&[NAME, (&variable, value)]).unwrap_err();
            assert_eq!(error, FromEnvError::Unknown { variable: variable.clone() });
            assert_eq!(error.to_string(), format!("{variable} is no variable of the configuration"));
        }
    }
    assert!(read(&[NAME, ("PORT", "x"), ("noex_x", "y"), ("NOE", ""), ("XNOEX_PORT", "z")]).is_ok());
}

/// How many secrets a configuration holds, its own first.
fn secrets(config: &ClusterConfig) -> String {
    format!("{config:?}").matches("Secret(..)").count().to_string()
}

#[test]
fn secrets_come_from_variables_or_files_and_are_never_quoted() {
    let files = |path: &str| match path {
        "/primary" => Ok(format!("{SECRET}\r\n").into_bytes()),
        "/accepted" => Ok(format!("{OTHER}\n\n{OTHER}\n").into_bytes()),
        "/short" => Ok(b"hunter2\n".to_vec()),
        // The line break at the end does not count.
        "/fifteen" => Ok(b"fifteen bytes..\n".to_vec()),
        _ => no_file(path),
    };
    let read =
        |variables: &[(&str, &str)]| ClusterConfig::from_variables("NOEX_", variables.iter().copied().chain([NAME]), files);
    let list = format!("{OTHER}, {OTHER},");
    for (variables, count) in [
        (vec![("NOEX_CLUSTER_SECRET", SECRET)], "1"),
        (vec![("NOEX_CLUSTER_SECRET_FILE", "/primary")], "1"),
        (vec![("NOEX_CLUSTER_SECRET", SECRET), ("NOEX_ACCEPTED_SECRETS", &list)], "3"),
        (vec![("NOEX_CLUSTER_SECRET_FILE", "/primary"), ("NOEX_ACCEPTED_SECRETS_FILE", "/accepted")], "3"),
        (vec![], "0"),
    ] {
        assert_eq!(secrets(&read(&variables).unwrap()), count, "{variables:?}");
    }

    let fault = |variables: &[(&str, &str)]| read(variables).unwrap_err();
    for (variables, said) in [
        ([("NOEX_CLUSTER_SECRET", "hunter2")], "NOEX_CLUSTER_SECRET: cluster_secret must have 16 to 1024 bytes, not 7"),
        ([("NOEX_CLUSTER_SECRET_FILE", "/short")], "NOEX_CLUSTER_SECRET_FILE: cluster_secret must have 16 to 1024 bytes, not 7"),
        (
            [("NOEX_CLUSTER_SECRET_FILE", "/fifteen")],
            "NOEX_CLUSTER_SECRET_FILE: cluster_secret must have 16 to 1024 bytes, not 15",
        ),
        ([("NOEX_CLUSTER_SECRET_FILE", "/none")], "NOEX_CLUSTER_SECRET_FILE: cannot read \"/none\": no /none"),
        ([("NOEX_ACCEPTED_SECRETS", OTHER)], "NOEX_ACCEPTED_SECRETS: accepted_secrets must be empty without a cluster_secret"),
    ] {
        let error = fault(&variables);
        assert_eq!(error.to_string(), said);
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        assert!(error.source().is_some());
    }
    for variable in ["NOEX_CLUSTER_SECRET", "NOEX_ACCEPTED_SECRETS"] {
        let file = format!("{variable}_FILE");
        let error = fault(&[(variable, SECRET), (&file, "/primary")]);
        assert_eq!(error, FromEnvError::Both { variable: variable.into() });
        assert_eq!(error.to_string(), format!("{variable} and {variable}_FILE are both set"));
    }
    let unreadable = fault(&[("NOEX_CLUSTER_SECRET_FILE", "/none")]);
    assert!(matches!(unreadable, FromEnvError::Unreadable { path, .. } if path == "/none"));
    let not_text = ClusterConfig::from_variables("NOEX_", [("NOEX_CLUSTER_SECRET_FILE", [0xFF])], no_file).unwrap_err();
    assert!(matches!(not_text, FromEnvError::NotText { .. }));
    // A secret need not be text.
    let bytes: ClusterConfig =
        ClusterConfig::from_variables("NOEX_", [(NAME.0, NAME.1.as_bytes()), ("NOEX_CLUSTER_SECRET", &[0xFF; 16])], no_file)
            .unwrap();
    assert_eq!(secrets(&bytes), "1");
}

proptest! {
    /// Whatever stands in it, an environment is read or refused.
    #[test]
    fn no_environment_is_a_panic(field in 0..FIELDS.len(), value in any::<Vec<u8>>(), name in "[A-Z_]{0,12}") {
        let known = format!("NOEX_{}", FIELDS[field].0);
        let other = format!("NOEX_{name}");
        let variables = [(NAME.0, NAME.1.as_bytes()), (&known, &value)];
        let _outcome = ClusterConfig::from_variables("NOEX_", variables, no_file);
        let _outcome = ClusterConfig::from_variables("NOEX_", [(&other, &value)], |_| Ok(value.clone()));
    }
}
