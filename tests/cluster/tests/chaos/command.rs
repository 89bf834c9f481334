//! Commands that set a network up.

use std::io::Write;
use std::process::{Command, Stdio};

/// Runs a command, which may read lines.
pub(crate) fn run(program: &str, args: &[&str], input: &str) -> Result<(), String> {
    let called = format!("{program} {}", args.join(" "));
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("{called}: {error}"))?;
    let written = child.stdin.take().expect("it is piped").write_all(input.as_bytes());
    let output = child.wait_with_output().map_err(|error| format!("{called}: {error}"))?;
    if output.status.success() && written.is_ok() {
        return Ok(());
    }
    Err(format!("{called}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
