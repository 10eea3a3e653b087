//! Redis: one server, a master that Sentinels watch, a Cluster.

use std::fmt::Write;
use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::process::{Process, command, free_port};

/// A server. Without `--appendonly yes` among its arguments it keeps everything in memory.
pub(crate) struct Redis {
    process: Process,
    port: u16,
    arguments: Vec<String>,
    directory: TempDir,
}

impl Redis {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let mut failure = String::new();
        for _ in 0..PORTS {
            let port = free_port();
            match run(port, &directory, &arguments) {
                Ok(process) => return Self { process, port, arguments, directory },
                Err(cause) => failure = cause,
            }
        }
        panic!("{failure}");
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again after [`kill`](Self::kill), on the same port and with the same files.
    pub(crate) fn restart(&mut self) {
        self.process = run(self.port, &self.directory, &self.arguments).expect("it ran before");
    }

    /// Sends a signal (`STOP`, `CONT`).
    pub(crate) fn signal(&self, signal: &str) {
        self.process.signal(signal);
    }

    /// What it answers to a command, past any store.
    #[track_caller]
    pub(crate) fn ask(&self, command: &[&str]) -> String {
        ask(self.port, command)
    }

    pub(crate) fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }
}

fn run(port: u16, directory: &TempDir, arguments: &[String]) -> Result<Process, String> {
    let mut command = command("redis-server");
    command.current_dir(directory);
    command.args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()]).args(arguments);
    Process::start(&mut command, "Ready to accept connections")
}

/// A master, its replicas, and three Sentinels that replace it half a second after it has fallen silent.
pub(crate) struct Sentinels {
    pub(crate) master: Redis,
    pub(crate) replicas: Vec<Redis>,
    ports: Vec<u16>,
    _processes: Vec<Process>,
    _directory: TempDir,
}

impl Sentinels {
    /// `arguments` are for the master and the replicas.
    pub(crate) fn start(replicas: usize, arguments: &[&str]) -> Self {
        let master = Redis::start(arguments);
        let port = master.port.to_string();
        let replica = |_| Redis::start(&[&["--replicaof", "127.0.0.1", &port], arguments].concat());
        let replicas: Vec<Redis> = (0..replicas).map(replica).collect();
        for replica in &replicas {
            until("the replica follows", || {
                replica.ask(&["INFO", "replication"]).contains("master_link_status:up")
            });
        }
        let directory = tempfile::tempdir().expect("a temporary directory");
        let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
        let id = |port: u16| format!("{port:040x}");
        let mut processes = Vec::new();
        for &own in &ports {
            // What they would learn from each other in some seconds stands there from the start.
            let mut settings = format!(
                "port {own}\nbind 127.0.0.1\nsentinel myid {}\nsentinel monitor {MASTER} 127.0.0.1 {port} 2\n\
                 sentinel down-after-milliseconds {MASTER} 500\nsentinel failover-timeout {MASTER} 3000\n",
                id(own),
            );
            for replica in &replicas {
                writeln!(settings, "sentinel known-replica {MASTER} 127.0.0.1 {}", replica.port)
                    .expect("text");
            }
            for other in ports.iter().filter(|&&other| other != own) {
                writeln!(settings, "sentinel known-sentinel {MASTER} 127.0.0.1 {other} {}", id(*other))
                    .expect("text");
            }
            let file = directory.path().join(format!("{own}.conf"));
            fs::write(&file, settings).expect("a file");
            let mut command = command("redis-sentinel");
            command.current_dir(&directory).arg(file);
            processes.push(Process::start(&mut command, "+monitor").expect("a Sentinel"));
        }
        Self { master, replicas, ports, _processes: processes, _directory: directory }
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.ports.iter().map(|port| format!("redis://127.0.0.1:{port}")).collect()
    }

    /// What the first of them answers.
    #[track_caller]
    pub(crate) fn ask(&self, command: &[&str]) -> String {
        ask(self.ports[0], command)
    }

    /// Makes a replica the master and the master its replica, and tells the Sentinels. No connection is closed.
    pub(crate) fn replace_master(&self, replica: usize) {
        let new = self.replicas[replica].port.to_string();
        for &sentinel in &self.ports {
            ask(sentinel, &["SENTINEL", "REMOVE", MASTER]);
        }
        self.replicas[replica].ask(&["REPLICAOF", "NO", "ONE"]);
        self.master.ask(&["REPLICAOF", "127.0.0.1", &new]);
        for &sentinel in &self.ports {
            ask(sentinel, &["SENTINEL", "MONITOR", MASTER, "127.0.0.1", &new, "2"]);
        }
    }
}

/// Three masters with a third of the slots each, and one replica, which follows the first.
pub(crate) struct Cluster {
    pub(crate) masters: Vec<Redis>,
    pub(crate) replica: Redis,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let node = || {
            let bus = free_port().to_string();
            let node = Redis::start(&[
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                &bus,
                "--cluster-node-timeout",
                "1500",
                "--cluster-require-full-coverage",
                "no",
            ]);
            (node, bus)
        };
        let nodes: Vec<(Redis, String)> = (0..4).map(|_| node()).collect();
        let thirds = [("0", "5460"), ("5461", "10922"), ("10923", "16383")];
        for ((node, _), (first, last)) in nodes.iter().zip(thirds) {
            node.ask(&["CLUSTER", "ADDSLOTSRANGE", first, last]);
        }
        for (place, (node, _)) in nodes.iter().enumerate() {
            node.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &(place + 1).to_string()]);
        }
        for (other, bus) in &nodes[1..] {
            nodes[0].0.ask(&["CLUSTER", "MEET", "127.0.0.1", &other.port.to_string(), bus]);
        }
        let (mut masters, _): (Vec<Redis>, Vec<String>) = nodes.into_iter().unzip();
        let replica = masters.pop().expect("there are four");
        let cluster = Self { masters, replica };
        for node in cluster.masters.iter().chain([&cluster.replica]) {
            until("the nodes know each other", || {
                let info = node.ask(&["CLUSTER", "INFO"]);
                info.contains("cluster_known_nodes:4") && info.contains("cluster_slots_ok:16384")
            });
        }
        cluster.replica.ask(&["CLUSTER", "REPLICATE", &cluster.masters[0].ask(&["CLUSTER", "MYID"])]);
        until("the replica follows", || {
            cluster.replica.ask(&["INFO", "replication"]).contains("master_link_status:up")
        });
        for node in &cluster.masters {
            until("the cluster works", || node.ask(&["CLUSTER", "INFO"]).contains("cluster_state:ok"));
            until("all know the replica", || {
                node.ask(&["CLUSTER", "NODES"]).lines().filter(|line| line.contains("slave")).count() == 1
            });
        }
        cluster
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.masters.iter().map(Redis::url).collect()
    }

    /// The master to whose third of the slots the key belongs.
    pub(crate) fn owner(&self, key: &str) -> usize {
        let slot: usize = self.masters[1].ask(&["CLUSTER", "KEYSLOT", key]).parse().expect("a number");
        [5460, 10922, 16383].iter().position(|&last| slot <= last).expect("there are no others")
    }
}

#[track_caller]
fn ask(port: u16, command: &[&str]) -> String {
    let asked = Command::new("redis-cli").args(["-e", "-p", &port.to_string()]).args(command).output();
    let asked = asked.expect("redis-cli");
    let answer = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
    assert!(asked.status.success(), "{command:?}: {answer}{}", String::from_utf8_lossy(&asked.stderr));
    answer
}

/// Asks until it is so: servers tell each other in their own time, and none tells us when it is done.
#[track_caller]
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        thread::yield_now();
    }
}

/// The name under which Sentinels watch the master.
const MASTER: &str = "mymaster";

/// How many ports are tried, since another process may take one between its choice and its use.
const PORTS: usize = 5;

const PATIENCE: Duration = Duration::from_secs(30);
