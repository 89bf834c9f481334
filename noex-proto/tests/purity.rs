//! The crate is pure: no clock, socket, thread, lock, waiting, environment or global state, few dependencies, no `std` in them.
//!
//! Four checks hold that: `#![no_std]`, the disallowed names of `clippy.toml`, an allow-list of dependencies, and a look at the
//! source for what neither can see. Each is also run on samples under `purity/` that break its rules, and must refuse them with
//! the message that belongs to the rule. Nothing here needs the network.

#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "a test of the sources runs tools and reads files")]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::{env, fs};

use serde_json::Value;

/// Every crate that noex-proto may depend on directly, with the features that it may turn on.
const ALLOWED: &[(&str, &[&str])] = &[
    ("bytes", &["serde"]),
    ("ciborium", &[]),
    ("hmac", &["zeroize"]),
    ("rand_chacha", &[]),
    ("serde", &["alloc", "derive", "rc"]),
    ("sha2", &["zeroize"]),
    ("zeroize", &["alloc", "derive"]),
];

/// Features that bring in the standard library or the operating system's randomness, in any crate of the tree.
const IMPURE_FEATURES: &[&str] = &["getrandom", "os_rng", "std", "sys_rng", "thread_rng"];

/// The samples that name a part of `std`, and so cannot compile with the crate's attributes.
const STD_SAMPLES: &[&str] = &["clock", "environment", "global_state", "hash_map", "lock", "socket", "thread"];

#[test]
fn lib_rs_is_no_std_and_forbids_unsafe_code() {
    let attributes = crate_attributes();
    for wanted in ["#![no_std]", "#![forbid(unsafe_code)]"] {
        assert!(attributes.lines().any(|line| line == wanted), "src/lib.rs must have {wanted}");
    }
}

#[test]
fn the_crate_attributes_refuse_std_and_unsafe_code() {
    let accepted = rustc_with_crate_attributes("allocation");
    assert!(accepted.status.success(), "a sample that breaks no rule is refused:\n{}", stderr(&accepted));

    for sample in STD_SAMPLES {
        let refused = rustc_with_crate_attributes(sample);
        let text = stderr(&refused);
        assert!(!refused.status.success(), "{sample}: compiles with the crate's attributes");
        assert!(text.contains("unresolved module or unlinked crate `std`"), "{sample}: refused for another reason:\n{text}");
        let other = errors(&text).find(|error| !error.starts_with("error[E0433]"));
        assert_eq!(other, None, "{sample}: refused for a further reason:\n{text}");
    }

    let refused = rustc_with_crate_attributes("unsafe_code");
    let text = stderr(&refused);
    assert!(!refused.status.success(), "unsafe code compiles with the crate's attributes");
    assert_eq!(errors(&text).collect::<Vec<_>>(), ["error: usage of an `unsafe` block"], "{text}");
}

#[test]
fn clippy_refuses_each_disallowed_name() {
    let Some(driver) = clippy_driver() else { return };
    let disallowed = disallowed_names();
    assert!(disallowed.len() > 50, "clippy.toml was not understood: {disallowed:?}");

    let mut refused = BTreeSet::new();
    for path in samples() {
        let output = Command::new(&driver)
            .args(["--edition", "2024", "--crate-type", "lib", "--emit=metadata", "--out-dir", env!("CARGO_TARGET_TMPDIR")])
            .args(["-W", "clippy::disallowed_macros", "-W", "clippy::disallowed_methods", "-W", "clippy::disallowed_types"])
            .arg(&path)
            .env("CLIPPY_CONF_DIR", env!("CARGO_MANIFEST_DIR"))
            .env_remove("CLIPPY_ARGS")
            .output()
            .expect("clippy-driver runs");
        let text = stderr(&output);
        // The lints only warn here, so that success also shows that a sample breaks nothing but the rules.
        assert!(output.status.success(), "{} does not compile:\n{text}", path.display());
        assert!(!text.contains("clippy.toml"), "clippy rejects an entry of clippy.toml:\n{text}");
        let found = disallowed.iter().filter(|(kind, name, reason)| {
            text.contains(&format!("warning: use of a disallowed {kind} `{name}`")) && text.contains(&format!("note: {reason}"))
        });
        let found: Vec<_> = found.collect();
        let pure = ["allocation.rs", "unsafe_code.rs"].iter().any(|name| path.ends_with(name));
        assert_eq!(found.is_empty(), pure, "{}: {found:?}\n{text}", path.display());
        refused.extend(found);
    }
    let missed: Vec<_> = disallowed.iter().filter(|entry| !refused.contains(entry)).collect();
    assert!(missed.is_empty(), "entries of clippy.toml without a sample that they refuse: {missed:?}");
}

#[test]
fn dependencies_are_allow_listed() {
    assert_eq!(unlisted_dependencies(&root().join("Cargo.toml")), [""; 0]);
}

#[test]
fn the_allow_list_refuses_other_dependencies() {
    let mut refused = unlisted_dependencies(&root().join("tests/purity/dependency/Cargo.toml"));
    refused.sort();
    assert_eq!(
        refused,
        [
            "cc: build dependency",
            "cc: not on the list",
            "ciborium: default features",
            "getrandom: not on the list",
            "libc: not on the list",
            "rand: not on the list",
            "serde: feature std",
            "tokio: not on the list",
            "tokio: renamed to bytes",
        ]
    );
}

#[test]
fn no_dependency_is_built_with_std() {
    assert_eq!(impure_features("normal,no-proc-macro"), [""; 0]);
}

#[test]
fn dependencies_built_with_std_are_found() {
    // The development dependencies need `std`, and the machine does not: the same look must tell them apart.
    let found = impure_features("normal,dev,no-proc-macro");
    assert!(found.iter().any(|line| line.starts_with("serde_json ") && line.ends_with(": std")), "{found:?}");
}

#[test]
fn the_source_waits_for_nothing_and_links_no_std() {
    let mut sources = Vec::new();
    collect_sources(&root().join("src"), &mut sources);
    assert!(sources.len() > 5, "src was not found: {sources:?}");
    for path in sources {
        assert_eq!(hidden_impurities(&read(&path)), [""; 0], "in {}", path.display());
    }
}

#[test]
fn hidden_waiting_and_std_are_found() {
    assert_eq!(
        hidden_impurities(&read(&sample("waiting"))),
        ["pub async fn ready() {}", "pub async fn wait() {", "ready().await;"]
    );
    assert_eq!(hidden_impurities("extern crate std;\n"), ["extern crate std;"]);
    assert_eq!(hidden_impurities("#[macro_use]\nextern crate std as core_;\n"), ["extern crate std as core_;"]);
    assert_eq!(hidden_impurities("extern crate alloc;\n#[cfg(test)]\nextern crate std;\n// async, .await\n"), [""; 0]);
}

/// Dependencies, other than those for tests, that break the rules.
fn unlisted_dependencies(manifest: &Path) -> Vec<String> {
    let output = cargo(&["metadata", "--offline", "--no-deps", "--format-version", "1", "--manifest-path"], manifest.as_os_str());
    let metadata: Value = serde_json::from_slice(&output).expect("cargo metadata prints JSON");
    let manifest = manifest.to_str().expect("the path is UTF-8");
    let packages = metadata["packages"].as_array().expect("there are packages");
    let package = packages.iter().find(|package| package["manifest_path"] == manifest).expect("the package is there");
    let mut broken = Vec::new();
    for dependency in package["dependencies"].as_array().expect("there are dependencies") {
        let name = dependency["name"].as_str().expect("a dependency has a name");
        match dependency["kind"].as_str() {
            Some("dev") => continue,
            Some(kind) => broken.push(format!("{name}: {kind} dependency")),
            None => {}
        }
        let listed = ALLOWED.iter().find(|(allowed, _)| *allowed == name);
        if listed.is_none() {
            broken.push(format!("{name}: not on the list"));
        }
        if let Some(other) = dependency["rename"].as_str() {
            broken.push(format!("{name}: renamed to {other}"));
        }
        let Some((_, features)) = listed else { continue };
        if dependency["uses_default_features"] != false {
            broken.push(format!("{name}: default features"));
        }
        for feature in dependency["features"].as_array().expect("there are features") {
            let feature = feature.as_str().expect("a feature is a string");
            if !features.contains(&feature) {
                broken.push(format!("{name}: feature {feature}"));
            }
        }
    }
    broken
}

/// Every crate that is built for noex-proto with one of the impure features.
fn impure_features(edges: &str) -> Vec<String> {
    let output = cargo(
        &["tree", "--offline", "--package", "noex-proto", "--prefix", "none", "--format", "{p}|{f}", "--edges"],
        edges.as_ref(),
    );
    let output = String::from_utf8(output).expect("cargo tree prints UTF-8");
    let lines: BTreeSet<_> = output.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    assert!(lines.iter().any(|line| line.starts_with("sha2 ")), "cargo tree was not understood:\n{output}");
    let mut found = Vec::new();
    for (package, features) in lines.iter().filter_map(|line| line.split_once('|')) {
        let features = features.split(',').filter(|feature| IMPURE_FEATURES.contains(feature));
        found.extend(features.map(|feature| format!("{package}: {feature}")));
    }
    found
}

/// Lines that wait, or that link another crate than `alloc` outside of tests.
fn hidden_impurities(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut previous = "";
    for line in source.lines() {
        let code = line.split("//").next().unwrap_or_default().trim();
        let mut words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
        let waits = words.any(|word| word == "async" || word == "await");
        let links = code.contains("extern crate ") && code != "extern crate alloc;" && previous != "#[cfg(test)]";
        if waits || links {
            found.push(code.to_owned());
        }
        previous = code;
    }
    found
}

/// The crate attributes of `src/lib.rs`.
fn crate_attributes() -> String {
    let source = read(&root().join("src/lib.rs"));
    let attributes = source.lines().filter(|line| line.starts_with("#![") && !line.starts_with("#![doc"));
    attributes.fold(String::new(), |all, line| all + line + "\n")
}

/// Compiles a sample as if it stood in `src/lib.rs`.
fn rustc_with_crate_attributes(name: &str) -> Output {
    let mut compiler = Command::new("rustc")
        .args(["--edition", "2024", "--crate-type", "lib", "--crate-name", name, "--emit=metadata"])
        .args(["--out-dir", env!("CARGO_TARGET_TMPDIR"), "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("rustc runs");
    let source = crate_attributes() + &read(&sample(name)).replace("//!", "//");
    compiler.stdin.take().expect("it is piped").write_all(source.as_bytes()).expect("rustc reads its input");
    compiler.wait_with_output().expect("rustc ends")
}

/// The messages of the errors in a compiler's output, without the closing count.
fn errors(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| line.starts_with("error") && !line.starts_with("error: aborting"))
}

/// Kind, path and reason of every entry of `clippy.toml`.
fn disallowed_names() -> BTreeSet<(String, String, String)> {
    let text = read(&root().join("clippy.toml"));
    let mut kind = String::new();
    let mut names = BTreeSet::new();
    for line in text.lines().map(str::trim) {
        if let Some(list) = line.strip_prefix("disallowed-") {
            kind = list.split("s = ").next().unwrap_or_default().to_owned();
        }
        if let Some(entry) = line.strip_prefix("{ path = \"") {
            let (path, rest) = entry.split_once("\", reason = \"").expect("an entry has a reason");
            let reason = rest.strip_suffix("\" },").expect("an entry ends its line");
            names.insert((kind.clone(), path.to_owned(), reason.to_owned()));
        }
    }
    names
}

/// Clippy's compiler. Where it is missing, CI fails, and other places are told what was not checked.
fn clippy_driver() -> Option<PathBuf> {
    let works = |path: &Path| Command::new(path).arg("--version").output().is_ok_and(|output| output.status.success());
    let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output().expect("rustc runs").stdout;
    let beside = Path::new(String::from_utf8(sysroot).expect("the path is UTF-8").trim()).join("bin/clippy-driver");
    if let Some(path) = [beside, "clippy-driver".into()].into_iter().find(|path| works(path)) {
        return Some(path);
    }
    assert!(env::var_os("CI").is_none(), "clippy is not installed, so clippy.toml was not checked");
    // Past the test harness, which keeps what a passing test prints to itself.
    writeln!(std::io::stderr(), "\nWARNING: clippy is not installed, so clippy.toml was NOT checked\n").expect("stderr is open");
    None
}

fn cargo(arguments: &[&str], last: &std::ffi::OsStr) -> Vec<u8> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(arguments).arg(last).current_dir(root()).output().expect("cargo runs");
    assert!(output.status.success(), "cargo {arguments:?} failed:\n{}", stderr(&output));
    output.stdout
}

fn collect_sources(directory: &Path, sources: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("the directory can be read") {
        let path = entry.expect("the entry can be read").path();
        if path.is_dir() {
            collect_sources(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push(path);
        }
    }
}

fn samples() -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join("tests/purity")).expect("the samples are there");
    let paths = entries.map(|entry| entry.expect("the entry can be read").path());
    let mut samples: Vec<_> = paths.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect();
    samples.sort();
    samples
}

fn sample(name: &str) -> PathBuf {
    root().join("tests/purity").join(name).with_extension("rs")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
