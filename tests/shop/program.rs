//! The shop's program, as Cargo has built it beside the tests.

use std::env::{self, consts::EXE_SUFFIX};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the program is.
pub(crate) fn path() -> PathBuf {
    let tests = env::current_exe().expect("the path of this program");
    let target = tests.ancestors().nth(2).expect("it is in target/PROFILE/deps");
    let program = target.join("examples").join(format!("shop{EXE_SUFFIX}"));
    assert!(program.exists(), "build it first: cargo build --example shop");
    program
}

/// Lets a command of the program run in this folder and on a free port, whatever this environment has.
pub(crate) fn in_folder(mut command: Command, folder: &Path) -> Command {
    for (name, _) in env::vars_os() {
        if name == "HOST" || name.to_string_lossy().starts_with("SESSION_") {
            command.env_remove(name);
        }
    }
    command.current_dir(folder).env("PORT", "0");
    command
}

/// The host and port that it says it listens at.
pub(crate) fn address(said: &str) -> Option<&str> {
    let (_, rest) = said.split_once(OPEN)?;
    rest.strip_prefix("http://")?.split_once('/').map(|(address, _)| address)
}

/// What it says when it listens.
pub(crate) const OPEN: &str = "The shop is open at ";
