//! The shop's program, as Cargo has built it beside the tests.

use std::env::{self, consts::EXE_SUFFIX};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A shop on a free port, with its files in a folder of its own. It is killed when it is dropped.
pub(crate) struct Shop {
    pub(crate) address: String,
    child: Child,
    pub(crate) folder: TempDir,
    settings: Settings,
}

type Settings = &'static [(&'static str, &'static str)];

impl Shop {
    #[track_caller]
    pub(crate) fn open(settings: Settings) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (address, child) = start(folder.path(), settings);
        Self { address, child, folder, settings }
    }

    /// Kills the server without a word, and starts another on the same files.
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        self.kill();
        (self.address, self.child) = start(self.folder.path(), self.settings);
    }

    /// Asks the server to close, as `kill` does, and waits until it has done so.
    #[cfg(unix)]
    #[track_caller]
    pub(crate) fn close(&mut self, signal: &str) -> std::process::ExitStatus {
        use std::sync::mpsc;
        use std::time::Duration;
        use std::{io, thread};

        let id = self.child.id().to_string();
        let kill = Command::new("sh").args(["-c", "kill -$0 $1", signal, &id]).status();
        assert!(kill.expect("a shell").success());
        // The end of its output is the end of the program, and can be waited for with an end in sight.
        let mut output = self.child.stdout.take().expect("it is piped");
        let (closed, waiting) = mpsc::channel();
        thread::spawn(move || closed.send(io::copy(&mut output, &mut io::sink())));
        waiting.recv_timeout(Duration::from_secs(20)).expect("the shop closes").expect("text");
        self.child.wait().expect("our child")
    }

    fn kill(&mut self) {
        // It fails where the child has ended by itself, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts the program and waits for the line that says where it listens.
#[track_caller]
fn start(folder: &Path, settings: Settings) -> (String, Child) {
    let mut child = command(folder, settings).stdout(Stdio::piped()).spawn().expect("the shop starts");
    let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut line = String::new();
    output.read_line(&mut line).expect("text");
    let address = line.strip_prefix("The shop is open at http://").and_then(|rest| rest.split_once('/'));
    let (address, _) = address.unwrap_or_else(|| panic!("the shop said {line:?}"));
    // Kept open: a program whose output nobody takes any more may end over it.
    child.stdout = Some(output.into_inner());
    (address.to_owned(), child)
}

/// The program with these settings, whatever this environment has.
pub(crate) fn command(folder: &Path, settings: Settings) -> Command {
    let tests = env::current_exe().expect("the path of this program");
    let target = tests.ancestors().nth(2).expect("it is in target/PROFILE/deps");
    let program = target.join("examples").join(format!("shop{EXE_SUFFIX}"));
    assert!(program.exists(), "build it first: cargo build --example shop");
    let mut command = Command::new(program);
    for name in ["HOST", "SESSION_DB", "SESSION_KEYS_FILE", "SESSION_COOKIES", "SESSION_SECURE"] {
        command.env_remove(name);
    }
    command.current_dir(folder).env("PORT", "0").envs(settings.iter().copied());
    command
}
