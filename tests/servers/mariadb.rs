//! A `MariaDB` server.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::process::{Process, command_as, free_port, owned_by};

/// A server that flushes what it commits.
pub(crate) struct Mariadb {
    process: Process,
    port: u16,
    folder: TempDir,
}

impl Mariadb {
    pub(crate) fn start() -> Self {
        let folder = owned_by(USER);
        let made = command_as(USER, "mariadb-install-db")
            .args(["--no-defaults", "--skip-test-db", "--skip-name-resolve"])
            .arg(option("datadir", &folder.path().join("data")))
            .arg(option("tmpdir", folder.path()))
            .output()
            .expect("mariadb-install-db");
        assert!(made.status.success(), "mariadb-install-db: {}", String::from_utf8_lossy(&made.stderr));
        // Run at each start.
        let accounts = format!(
            "CREATE DATABASE IF NOT EXISTS hardtack;\n\
             CREATE USER IF NOT EXISTS hardtack@'%' IDENTIFIED BY '{PASSWORD}';\n\
             GRANT ALL ON *.* TO hardtack@'%' WITH GRANT OPTION;\n"
        );
        fs::write(folder.path().join("accounts.sql"), accounts).expect("a file in a folder of ours");
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

    /// The URL of a database; `hardtack` is always there.
    pub(crate) fn url(&self, database: &str) -> String {
        Self::url_through(self.port, database)
    }

    /// The same through a proxy's port.
    pub(crate) fn url_through(port: u16, database: &str) -> String {
        format!("mysql://hardtack:{PASSWORD}@127.0.0.1:{port}/{database}")
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same port and data.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.process = run(self.folder.path(), self.port).expect("it has run on this port");
    }
}

fn run(folder: &Path, port: u16) -> Result<Process, String> {
    let mut mariadbd = command_as(USER, "mariadbd");
    mariadbd.arg("--no-defaults").arg(option("tmpdir", folder));
    for (name, file) in [("datadir", "data"), ("socket", "socket"), ("init-file", "accounts.sql")] {
        mariadbd.arg(option(name, &folder.join(file)));
    }
    mariadbd.args([&format!("--port={port}"), "--bind-address=127.0.0.1", "--skip-name-resolve"]);
    mariadbd.args([
        "--performance-schema=ON",
        "--innodb-buffer-pool-size=16M",
        "--innodb-log-file-size=8M",
        "--max-connections=400",
    ]);
    Process::start(&mut mariadbd, "ready for connections")
}

fn option(name: &str, path: &Path) -> String {
    format!("--{name}={}", path.display())
}

const USER: &str = "mysql";
const PASSWORD: &str = "correct-horse";
const ATTEMPTS: u32 = 50;
