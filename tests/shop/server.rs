//! A shop that a test opens, and kills.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::program;

/// A shop on a free port, with its files in a folder of its own. It is killed when it is dropped.
pub(crate) struct Shop {
    pub(crate) address: String,
    child: Child,
    pub(crate) folder: TempDir,
    /// What it said when it opened.
    pub(crate) said: String,
    settings: Settings,
}

type Settings = &'static [(&'static str, &'static str)];

impl Shop {
    #[track_caller]
    pub(crate) fn open(settings: Settings) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (said, child) = start(folder.path(), settings);
        Self { address: address(&said), child, folder, said, settings }
    }

    /// Kills the server without a word, and starts another on the same files.
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        self.kill();
        (self.said, self.child) = start(self.folder.path(), self.settings);
        self.address = address(&self.said);
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

/// Starts the program and waits for the lines that say where it listens and where it keeps what.
#[track_caller]
fn start(folder: &Path, settings: Settings) -> (String, Child) {
    let mut child = command(folder, settings).stdout(Stdio::piped()).spawn().expect("the shop starts");
    let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut said = String::new();
    for _ in 0..2 {
        output.read_line(&mut said).expect("text");
    }
    // Kept open: a program whose output nobody takes any more may end over it.
    child.stdout = Some(output.into_inner());
    (said, child)
}

#[track_caller]
fn address(said: &str) -> String {
    program::address(said).unwrap_or_else(|| panic!("the shop said {said:?}")).to_owned()
}

/// The program with these settings.
pub(crate) fn command(folder: &Path, settings: Settings) -> Command {
    let mut command = program::in_folder(Command::new(program::path()), folder);
    command.envs(settings.iter().copied());
    command
}
