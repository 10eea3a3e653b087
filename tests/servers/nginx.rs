//! nginx: what stands in front.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use super::process::{Process, free_port};

/// A server whose configuration is the test's alone.
pub(crate) struct Nginx {
    process: Process,
    port: u16,
    prefix: TempDir,
}

impl Nginx {
    /// Starts it with this content of its `http` block, which is given the port to listen at.
    pub(crate) fn start(http: impl Fn(u16) -> String) -> Self {
        let prefix = tempfile::tempdir().expect("a temporary directory");
        let mut failure = String::new();
        for _ in 0..PORTS {
            let port = free_port();
            configure(&prefix, &http(port));
            match run(&prefix) {
                Ok(process) => return Self { process, port, prefix },
                Err(cause) => failure = cause,
            }
        }
        panic!("{failure}");
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Replaces the `http` block. Requests under way end as they began; that the new ones follow the new one is for the
    /// test to see.
    pub(crate) fn reload(&self, http: impl Fn(u16) -> String) {
        configure(&self.prefix, &http(self.port));
        self.process.signal("HUP");
    }
}

impl Drop for Nginx {
    /// Its workers outlive a master that is killed.
    fn drop(&mut self) {
        self.process.end();
    }
}

fn configure(prefix: &TempDir, http: &str) {
    let paths =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|of| format!("{of}_temp_path {of};\n"));
    // The user of the workers, where the master may choose one: theirs is the directory then.
    let configuration = format!(
        "daemon off;\nuser root;\npid pid;\nerror_log stderr notice;\nworker_processes 2;\n\
         events {{ worker_connections 1024; }}\nhttp {{\naccess_log off;\n{}{http}}}\n",
        paths.concat()
    );
    fs::write(prefix.path().join("nginx.conf"), configuration).expect("a file");
}

fn run(prefix: &TempDir) -> Result<Process, String> {
    let mut command = Command::new("setpriv");
    // Not `KILL`, should the test die first: see `drop`.
    command.args(["--pdeathsig", "TERM", "--", "nginx", "-e", "stderr", "-c", "nginx.conf", "-p"]);
    command.arg(prefix.path());
    Process::start(&mut command, "start worker processes")
}

/// How many ports are tried, since another process may take one between its choice and its use.
const PORTS: usize = 5;
