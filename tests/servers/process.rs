//! A program that a test starts, waits for, and ends.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

/// A running program. Dropped, it is killed.
pub(crate) struct Process {
    child: Child,
    said: Arc<Mutex<VecDeque<String>>>,
}

impl Process {
    /// Starts it, and returns when a line of its output or errors contains `ready`.
    ///
    /// Fails with the last lines of what it said if it ends first, or says nothing of the kind for a minute.
    pub(crate) fn start(command: &mut Command, ready: &'static str) -> Result<Self, String> {
        let name = format!("{command:?}");
        let (output, ours) = std::io::pipe().expect("a pipe");
        let errors = ours.try_clone().expect("a pipe");
        let child = command.stdin(Stdio::null()).stdout(ours).stderr(errors).spawn();
        let child = child.map_err(|cause| format!("{name}: {cause}"))?;
        // The command holds the writing ends, and the output would never end.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let said = Arc::new(Mutex::new(VecDeque::new()));
        let process = Self { child, said: said.clone() };
        let (is_ready, waiting) = mpsc::channel();
        // Its output is read to its end, for a program that nobody listens to may block on it.
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let found = line.contains(ready);
                let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
                said.push_back(line);
                if said.len() > LINES {
                    said.pop_front();
                }
                drop(said);
                if found {
                    let _ = is_ready.send(());
                }
            }
        });
        match waiting.recv_timeout(PATIENCE) {
            Ok(()) => Ok(process),
            Err(_) => Err(format!("{name} did not say {ready:?}:\n{}", process.said())),
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The last lines that it said.
    pub(crate) fn said(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    /// `kill -9`, and its end.
    pub(crate) fn kill(&mut self) {
        // It fails where the program has ended by itself, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn end(&mut self) {
        self.signal("TERM");
        let _ = self.child.wait();
    }

    /// Sends a signal (`STOP`, `CONT`, `TERM` ..).
    pub(crate) fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("sh").args(["-c", "kill -$0 $1", signal, &id]).status().expect("a shell");
        assert!(sent.success(), "kill -{signal} {id}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A command for `program` that the kernel ends with the thread that started it.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", program]);
    command
}

/// The same as another user, where this one may become that: some servers refuse to run as root.
pub(crate) fn command_as(user: &str, program: &str) -> Command {
    let root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
    if !root {
        return command(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", user, "--init-groups", "--pdeathsig", "KILL", "--", program]);
    command
}

/// A new folder for what `user` runs, who owns it where this user may give it away.
pub(crate) fn owned_by(user: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let _ = Command::new("chown").arg(user).arg(folder.path()).output();
    folder
}

/// A port that was free a moment ago. Who starts a server on it tries another one if it has gone.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("it has one").port()
}

const PATIENCE: Duration = Duration::from_mins(1);

/// How much of what it said is kept for a failure's message.
const LINES: usize = 60;
