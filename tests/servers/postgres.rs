//! A `PostgreSQL` server.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::process::{Process, command_as, free_port, owned_by};

/// A server with a database of its own, that flushes what it commits.
pub(crate) struct Postgres {
    process: Process,
    port: u16,
    folder: TempDir,
}

impl Postgres {
    pub(crate) fn start() -> Self {
        let folder = owned_by(USER);
        let password = folder.path().join("password");
        fs::write(&password, PASSWORD).expect("a file in a folder of ours");
        let made = command_as(USER, &program("initdb"))
            .args(["--no-sync", "--auth=md5", "--encoding=UTF8", "--no-locale", "--username=hardtack"])
            .arg("--pwfile")
            .arg(password)
            .arg(folder.path().join("data"))
            .output()
            .expect("initdb");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        for _ in 0..ATTEMPTS {
            let port = free_port();
            if let Ok(process) = run(folder.path(), port) {
                return Self { process, port, folder };
            }
        }
        panic!("no port was free");
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a database; `postgres` is always there.
    pub(crate) fn url(&self, database: &str) -> String {
        Self::url_through(self.port, database)
    }

    /// The same through a proxy's port.
    pub(crate) fn url_through(port: u16, database: &str) -> String {
        format!("postgres://hardtack:{PASSWORD}@127.0.0.1:{port}/{database}")
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same port and data.
    pub(crate) fn restart(&mut self) {
        self.kill();
        let killed = Instant::now();
        loop {
            // The processes of a server that was killed end by themselves, and it refuses to start before they have.
            match run(self.folder.path(), self.port) {
                Ok(process) => {
                    self.process = process;
                    return;
                }
                Err(failure) => assert!(killed.elapsed() < PATIENCE, "{failure}"),
            }
        }
    }
}

fn run(folder: &Path, port: u16) -> Result<Process, String> {
    let mut postgres = command_as(USER, &program("postgres"));
    postgres.arg("-D").arg(folder.join("data")).arg("-k").arg(folder);
    postgres.args(["-h", "127.0.0.1", "-p", &port.to_string()]);
    for setting in ["shared_buffers=16MB", "max_connections=400", "autovacuum=off"] {
        postgres.args(["-c", setting]);
    }
    Process::start(&mut postgres, "database system is ready to accept connections")
}

/// Debian keeps the server's programs out of the path, in a folder for each version.
fn program(name: &str) -> String {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions.map(|version| version.path().join("bin")).filter(|bin| bin.is_dir()).max();
    let program = newest.map_or_else(|| PathBuf::from(name), |bin| bin.join(name));
    program.to_str().expect("a name in UTF-8").to_owned()
}

const USER: &str = "postgres";
const PASSWORD: &str = "correct-horse";
const ATTEMPTS: u32 = 50;
const PATIENCE: Duration = Duration::from_mins(1);
