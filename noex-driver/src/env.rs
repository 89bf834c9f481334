//! The process's environment, as a source of configurations.

use std::fs::File;
use std::io::{self, Read};
use std::{env, error};

use noex_proto::{Cause, ClusterConfig, FromEnvError};

/// The most that a file of secrets may hold, in bytes.
const SECRET_FILE_BYTES: u64 = 64 * 1024;

/// A configuration out of the environment.
pub trait FromEnv: Sized {
    /// Reads the variables of this process whose names begin with `prefix`, such as `NOEX_`, and the files that they name for secrets.
    /// [`ClusterConfig::from_variables`] says which variables there are.
    ///
    /// # Errors
    /// [`FromEnvError`] names the variable and the rule that it breaks.
    fn from_env(prefix: &str) -> Result<Self, FromEnvError>;
}

impl FromEnv for ClusterConfig {
    fn from_env(prefix: &str) -> Result<Self, FromEnvError> {
        let variables = env::vars_os().map(|(name, value)| (name.into_encoded_bytes(), value.into_encoded_bytes()));
        Self::from_variables(prefix, variables, |path| read(path).map_err(Cause::new))
    }
}

fn read(path: &str) -> Result<Vec<u8>, Box<dyn error::Error + Send + Sync>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(SECRET_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > SECRET_FILE_BYTES {
        let what = format!("it has more than {SECRET_FILE_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, what).into());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use noex_proto::Machine;

    use super::*;

    const CHILD: &str = "FROM_ENV_CHILD";

    /// What a process with these variables reads.
    fn read_by_a_child(variables: &[(&str, &str)]) -> String {
        let mut child = Command::new(env::current_exe().expect("a test is a program"));
        child.args(["env::tests::the_child", "--exact", "--nocapture"]).env(CHILD, "1").envs(variables.iter().copied());
        let output = child.output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().find_map(|line| line.strip_prefix("read: ")).unwrap_or_else(|| panic!("{text}")).to_owned()
    }

    #[test]
    fn the_child() {
        if env::var_os(CHILD).is_some() {
            match ClusterConfig::from_env("NOEX_") {
                // The line of a test that is not told its name begins in the middle of one.
                Ok(config) => println!("\nread: {}", Machine::new().start(noex_proto::Instant::START, config).expect("valid")),
                Err(error) => println!("\nread: {error}"),
            }
        }
    }

    fn file(name: &str, content: &[u8]) -> PathBuf {
        let path = env::temp_dir().join(format!("noex-{}-{name}", std::process::id()));
        fs::write(&path, content).expect("a file");
        path
    }

    fn text(path: &Path) -> &str {
        path.to_str().expect("a temporary folder with a name that is text")
    }

    #[test]
    fn a_process_reads_its_environment_and_its_files() {
        let node = [("NOEX_NODE_NAME", "app1"), ("NOEX_HOST", "127.0.0.1"), ("OTHER", "x")];
        assert_eq!(read_by_a_child(&node), "127.0.0.1:4369");
        assert_eq!(read_by_a_child(&[]), "NOEX_NODE_NAME must be set");
        assert_eq!(
            read_by_a_child(&[node[0], ("NOEX_SEED", "x")]),
            "NOEX_SEED is no variable of the configuration",
            "it is called NOEX_SEEDS"
        );
        let (secret, large) = (file("secret", b"correct horse battery staple\n"), file("large", &[b'x'; 64 * 1024 + 1]));
        assert_eq!(read_by_a_child(&[node[0], node[1], ("NOEX_CLUSTER_SECRET_FILE", text(&secret))]), "127.0.0.1:4369");
        let too_large = read_by_a_child(&[node[0], ("NOEX_CLUSTER_SECRET_FILE", text(&large))]);
        assert!(too_large.ends_with("it has more than 65536 bytes"), "{too_large}");
        for path in [secret, large] {
            fs::remove_file(path).expect("it is there");
        }
    }
}
