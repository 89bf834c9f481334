//! Which file may name what: the parts of a node do not know each other.

use std::fs;
use std::path::{Path, PathBuf};

/// The parts of `mesh`, each with the file or folder that is its own.
const PARTS: [(&str, &str); 5] =
    [("Links", "links"), ("Peers", "peers"), ("Detector", "detector"), ("Dialler", "dialler"), ("Gossip", "gossip")];

fn mesh() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../noex-proto/src/mesh")
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

#[test]
fn a_part_that_names_another_is_refused() {
    let reaches_in = "impl Gossip { fn ask(&self, peers: &Peers) {} } // Links are none of its business";
    assert_eq!(named("gossip.rs", reaches_in), ["gossip.rs names Peers"]);
    assert_eq!(named("dialler/seeds.rs", "impl Dialler { fn up(node: &Node) {} }"), ["dialler/seeds.rs names Node"]);
    assert_eq!(named("session.rs", "use super::detector::Watch;"), Vec::<String>::new());
}
