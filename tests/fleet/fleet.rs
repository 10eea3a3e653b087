//! The machines: nodes of the shop, nginx in front of them, a store behind them, and the network to it.

use std::process::Command;

use tempfile::TempDir;

use crate::program;
use crate::servers::{self, Nginx, Postgres, Process, Proxy, Redis};
use crate::visitor::Kept;

/// A way to keep sessions on many machines.
#[derive(Clone, Copy)]
pub(crate) struct Topology {
    pub(crate) name: &'static str,
    pub(crate) kept: Kept,
    pub(crate) store: fn() -> Server,
    pub(crate) settings: &'static [(&'static str, &'static str)],
}

/// The server of a store. Both have written to their disk what they acknowledge.
pub(crate) enum Server {
    Redis(Redis),
    Postgres(Postgres),
}

impl Server {
    pub(crate) fn redis() -> Self {
        Self::Redis(Redis::start(&["--appendonly", "yes", "--appendfsync", "always"]))
    }

    pub(crate) fn postgres() -> Self {
        Self::Postgres(Postgres::start())
    }

    fn port(&self) -> u16 {
        match self {
            Self::Redis(server) => server.port(),
            Self::Postgres(server) => server.port(),
        }
    }

    fn url_through(&self, port: u16) -> String {
        match self {
            Self::Redis(_) => format!("redis://127.0.0.1:{port}"),
            Self::Postgres(_) => Postgres::url_through(port, "postgres"),
        }
    }

    pub(crate) fn kill(&mut self) {
        match self {
            Self::Redis(server) => server.kill(),
            Self::Postgres(server) => server.kill(),
        }
    }

    pub(crate) fn restart(&mut self) {
        match self {
            Self::Redis(server) => server.restart(),
            Self::Postgres(server) => server.restart(),
        }
    }
}

pub(crate) struct Fleet {
    nginx: Nginx,
    pub(crate) nodes: Vec<Node>,
    pub(crate) network: Proxy,
    pub(crate) store: Server,
    /// How often nodes have asked the store something when they started.
    asked_at_start: u64,
    topology: Topology,
    /// The nodes' working directory, with the key ring that they share.
    folder: TempDir,
}

impl Fleet {
    pub(crate) async fn start(topology: Topology) -> Self {
        let store = (topology.store)();
        let network = Proxy::to(store.port()).await;
        let folder = tempfile::tempdir().expect("a temporary directory");
        let start = |_| Node::start(&topology, &folder, &store.url_through(network.port()), 0);
        let nodes: Vec<Node> = (0..3).map(start).collect();
        let nginx = Nginx::start(|port| balanced(port, &nodes, topology.kept));
        let asked_at_start = network.round_trips();
        Self { nginx, nodes, network, store, asked_at_start, topology, folder }
    }

    /// Where visitors go.
    pub(crate) fn port(&self) -> u16 {
        self.nginx.port()
    }

    /// `kill -9`.
    pub(crate) fn kill_node(&mut self, index: usize) {
        self.nodes[index].process.kill();
    }

    /// Starts it again, where nginx expects it.
    pub(crate) fn restart_node(&mut self, index: usize) {
        let port = self.nodes[index].port;
        self.nodes[index] = self.new_node(port);
    }

    /// Starts one more, and tells nginx.
    pub(crate) fn add_node(&mut self) {
        let node = self.new_node(0);
        self.nodes.push(node);
        self.nginx.reload(|port| balanced(port, &self.nodes, self.topology.kept));
    }

    /// How often the store was asked for a visitor.
    pub(crate) fn asked_by_visitors(&self) -> u64 {
        self.network.round_trips() - self.asked_at_start
    }

    fn new_node(&mut self, port: u16) -> Node {
        let before = self.network.round_trips();
        let node =
            Node::start(&self.topology, &self.folder, &self.store.url_through(self.network.port()), port);
        self.asked_at_start += self.network.round_trips() - before;
        node
    }
}

/// A process of the shop.
pub(crate) struct Node {
    process: Process,
    port: u16,
}

impl Node {
    fn start(topology: &Topology, folder: &TempDir, store: &str, port: u16) -> Self {
        let path = program::path();
        let command = servers::command(path.to_str().expect("a name in UTF-8"));
        let mut command: Command = program::in_folder(command, folder.path());
        command
            .env("SESSION_STORE", store)
            .env("PORT", port.to_string())
            .envs(topology.settings.iter().copied());
        let process = Process::start(&mut command, program::OPEN).expect("a shop");
        let said = process.said();
        let address = program::address(&said).expect("it says where it listens");
        let (_, port) = address.rsplit_once(':').expect("a host and a port");
        Self { process, port: port.parse().expect("a number") }
    }

    /// How nginx calls it.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

/// The part of nginx's configuration that says which node gets a request.
fn balanced(port: u16, nodes: &[Node], kept: Kept) -> String {
    // Visitors without the cookie have no copies anywhere, and go to any node.
    let hash = if kept == Kept::Copied { "hash $visitor consistent;\n" } else { "" };
    let servers: Vec<_> =
        nodes.iter().map(|node| format!("server {} max_fails=0;\n", node.address())).collect();
    let servers = servers.concat();
    format!(
        "map $cookie_{AFFINITY} $visitor {{ \"\" $request_id; default $cookie_{AFFINITY}; }}
upstream shop {{
{hash}{servers}keepalive 16;
}}
server {{
    listen 127.0.0.1:{port};
    location / {{
        proxy_pass http://shop;
        proxy_http_version 1.1;
        proxy_set_header Connection \"\";
        proxy_connect_timeout 5s;
        add_header X-Node $upstream_addr always;
    }}
}}
"
    )
}

/// The name of the cookie that nginx hashes on.
pub(crate) const AFFINITY: &str = "shopnode";
