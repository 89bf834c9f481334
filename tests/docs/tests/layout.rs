//! Which file may name what: the parts of a node do not know each other.

use std::fs;
use std::path::{Path, PathBuf};

/// The parts of `mesh`, each with the file or folder that is its own.
const PARTS: [(&str, &str); 5] =
    [("Links", "links"), ("Peers", "peers"), ("Detector", "detector"), ("Dialler", "dialler"), ("Gossip", "gossip")];

/// The parts of `process`, likewise.
const PARTS_OF_PROCESSES: [(&str, &str); 5] =
    [("Table", "table"), ("Mailbox", "mailbox"), ("Peers", "peers"), ("Outbox", "outbox"), ("Deadlines", "deadlines")];

/// The files of `process` that connect its parts, and the two whose rows hold what another part keeps for each.
const CONNECTS: [&str; 6] = ["mod", "commands", "arrivals", "ends", "release", "abstraction"];
const ROWS: [(&str, &str); 2] = [("table.rs", "Mailbox"), ("peers.rs", "Outbox")];

/// The parts of `process/names`, and the files that connect them.
const PARTS_OF_NAMES: [(&str, &str); 4] = [("Own", "own"), ("Seen", "seen"), ("Sessions", "sessions"), ("Standbys", "standbys")];
const CONNECT_NAMES: [&str; 4] = ["mod", "claims", "arrivals", "telling"];

/// What is of the mesh, which the process layer hears of by events.
const OF_THE_MESH: [&str; 6] = ["Node", "Links", "Session", "Detector", "Dialler", "Gossip"];

fn mesh() -> PathBuf {
    folder("mesh")
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../noex-proto/src").join(name)
}

/// All files of a folder and the folders in it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<PathBuf> = entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    files.sort();
    files
}

/// The words of a source, without its comments.
fn words(source: &str) -> Vec<String> {
    let code = source.lines().filter_map(|line| line.split("//").next());
    let words = code.flat_map(|line| line.split(|letter: char| !letter.is_alphanumeric() && letter != '_'));
    words.map(String::from).collect()
}

/// What a file of `mesh` names though it may not: another part, or the node.
fn named(path: &str, source: &str) -> Vec<String> {
    let own = path.split(['/', '.']).next();
    let foreign = |word: &&String| {
        let part = PARTS.iter().find(|(part, _)| part == word);
        part.is_some_and(|(_, home)| Some(*home) != own) || *word == "Node"
    };
    words(source).iter().filter(foreign).map(|word| format!("{path} names {word}")).collect()
}

#[test]
fn no_part_of_a_node_names_another() {
    let mesh = mesh();
    let mut seen = 0;
    for path in files(&mesh) {
        let name = path.strip_prefix(&mesh).expect("a file of mesh").to_string_lossy().replace('\\', "/");
        // The one place that connects the parts.
        if name.starts_with("node/") {
            continue;
        }
        let source = fs::read_to_string(&path).expect("Rust is text");
        // A target of a dial is a node of another kind.
        let source = source.replace("Target::Node", "").replace("    Node(NodeId),", "");
        assert_eq!(named(&name, &source), Vec::<String>::new());
        seen += 1;
    }
    assert!(seen >= 12, "only {seen} files");
}

/// What a file of `process` names though it may not: what is of the mesh, or another part.
fn named_by_processes(path: &str, source: &str) -> Vec<String> {
    let own = path.split(['/', '.']).next().unwrap_or_default();
    let connects = CONNECTS.contains(&own);
    let foreign = |word: &&String| {
        let part = PARTS_OF_PROCESSES.iter().find(|(part, _)| part == word);
        let other = part.is_some_and(|(part, home)| *home != own && !ROWS.contains(&(path, part)));
        other && !connects || OF_THE_MESH.contains(&word.as_str())
    };
    words(source).iter().filter(foreign).map(|word| format!("{path} names {word}")).collect()
}

#[test]
fn no_part_of_the_process_layer_names_another_and_none_a_node() {
    let folder = folder("process");
    let mut seen = 0;
    for path in files(&folder) {
        let name = path.strip_prefix(&folder).expect("a file of process").to_string_lossy().replace('\\', "/");
        if name.contains("tests") {
            continue;
        }
        // An action is about a mailbox.
        let source = fs::read_to_string(&path).expect("Rust is text").replace("    Mailbox(u64),", "");
        assert_eq!(named_by_processes(&name, &source), Vec::<String>::new());
        seen += 1;
    }
    assert!(seen >= 12, "only {seen} files");
    assert_eq!(named_by_processes("mailbox.rs", "fn f(table: &Table) {}"), ["mailbox.rs names Table"]);
    assert_eq!(named_by_processes("table.rs", "struct Row { outbox: Outbox }"), ["table.rs names Outbox"]);
    assert_eq!(named_by_processes("commands.rs", "fn f(table: &Table, node: &Node) {}"), ["commands.rs names Node"]);
}

/// What a file of `process/names` names though it may not: another part, the process layer, or what is of the mesh.
fn named_by_names(path: &str, source: &str) -> Vec<String> {
    let own = path.split('.').next().unwrap_or_default();
    let connects = CONNECT_NAMES.contains(&own);
    let foreign = |word: &&String| {
        let other = PARTS_OF_NAMES.iter().any(|(part, home)| part == word && *home != own);
        other && !connects || *word == "Processes" || *word == "Table" || OF_THE_MESH.contains(&word.as_str())
    };
    words(source).iter().filter(foreign).map(|word| format!("{path} names {word}")).collect()
}

#[test]
fn no_part_of_names_names_another_and_none_what_is_above_or_below() {
    let folder = folder("process/names");
    let mut seen = 0;
    for path in files(&folder) {
        let name = path.strip_prefix(&folder).expect("a file of names").to_string_lossy().replace('\\', "/");
        if name.starts_with("tests") {
            continue;
        }
        let source = fs::read_to_string(&path).expect("Rust is text");
        assert_eq!(named_by_names(&name, &source), Vec::<String>::new());
        seen += 1;
    }
    assert!(seen >= 11, "only {seen} files");
    assert_eq!(named_by_names("own.rs", "fn f(seen: &Seen) {}"), ["own.rs names Seen"]);
    assert_eq!(named_by_names("claims.rs", "fn f(own: &Own, above: &Processes) {}"), ["claims.rs names Processes"]);
}

#[test]
fn a_part_that_names_another_is_refused() {
    let reaches_in = "impl Gossip { fn ask(&self, peers: &Peers) {} } // Links are none of its business";
    assert_eq!(named("gossip.rs", reaches_in), ["gossip.rs names Peers"]);
    assert_eq!(named("dialler/seeds.rs", "impl Dialler { fn up(node: &Node) {} }"), ["dialler/seeds.rs names Node"]);
    assert_eq!(named("session.rs", "use super::detector::Watch;"), Vec::<String>::new());
}
