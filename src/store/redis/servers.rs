//! From a request to its answer: which server has the key, and what to do when it cannot or will not answer.

use std::fmt;

use redis::cluster_routing::Slot;
use redis::{ConnectionInfo, ErrorKind, RedisError, ServerErrorKind, Value};
use tokio::task::JoinSet;

use super::cluster::Cluster;
use super::connection::{Connection, Failure, Shared};
use super::request::{Request, load_scripts};
use super::sentinel::Sentinel;

/// Where the records are.
pub(super) enum Servers {
    One(ConnectionInfo, Shared),
    Sentinel(Sentinel, Shared),
    Cluster(Cluster),
}

/// The connection on which a request was sent, and the place that it is shared in.
#[derive(Clone)]
pub(super) struct Sent {
    connection: Connection,
    shared: Shared,
}

/// What a server answered.
pub(super) struct Answer {
    pub(super) value: Value,
    /// Why the request was sent a second time, if it was: the first one may have taken effect.
    pub(super) repeated: Option<Failure>,
}

impl Servers {
    /// Asks for what `request` says, in a handful of steps at most. While it waits for an answer, `waiting` holds the
    /// connection on which it does.
    pub(super) async fn ask(&self, request: &Request, waiting: &mut Option<Sent>) -> Result<Answer, Failure> {
        let (mut whole, mut repeated, mut looked_again, mut successor) = (false, None, false, None);
        let mut steps = 0;
        loop {
            steps += 1;
            let to_successor = successor.is_some();
            let sent = match self.reach(&request.key, successor.take()).await {
                Ok(sent) => sent,
                // The node is gone, and another one may have its slots by now.
                Err(_) if !looked_again && self.doubt() => {
                    looked_again = true;
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            *waiting = Some(sent.clone());
            let command = request.command(whole, repeated.is_some());
            let answer = if to_successor {
                sent.connection.ask_successor(&command).await
            } else {
                sent.connection.ask(&command).await
            };
            *waiting = None;
            let cause = match answer {
                Ok(value) => return Ok(Answer { value, repeated }),
                Err(cause) => cause,
            };
            match Remedy::of(&cause, sent.connection.server()) {
                _ if steps == STEPS => return Err(sent.connection.failed(cause)),
                Remedy::SendCode => whole = true,
                Remedy::Follow { slot, host, port } => self.moved(slot, host, port),
                Remedy::AskSuccessor { host, port } => successor = Some((host, port)),
                Remedy::FindMaster if !looked_again => {
                    looked_again = true;
                    self.put_away(&sent);
                }
                Remedy::Repeat if repeated.is_none() => {
                    self.put_away(&sent);
                    repeated = Some(sent.connection.failed(cause));
                }
                _ => return Err(sent.connection.failed(cause)),
            }
        }
    }

    /// The connection to the server that has the key, or to the one that is about to take it over.
    async fn reach(&self, key: &str, successor: Option<(String, u16)>) -> Result<Sent, Failure> {
        match self {
            Self::One(info, shared) => Sent::on(shared, || Connection::open(info)).await,
            Self::Sentinel(sentinel, shared) => Sent::on(shared, || sentinel.find()).await,
            Self::Cluster(cluster) => {
                let node = match successor {
                    Some((host, port)) => cluster.node(host, port),
                    None => cluster.owner(key.as_bytes()).await?,
                };
                Sent::on(&node.shared, || Connection::open(&node.info)).await
            }
        }
    }

    /// Whether it helps to look for the key's server again, which then happens.
    fn doubt(&self) -> bool {
        if let Self::Cluster(cluster) = self {
            cluster.doubt();
        }
        matches!(self, Self::Cluster(_))
    }

    fn moved(&self, slot: Slot, host: String, port: u16) {
        if let Self::Cluster(cluster) = self {
            cluster.moved(slot, host, port);
        }
    }

    /// The next call makes a new connection, to wherever the key's server is then.
    fn put_away(&self, sent: &Sent) {
        sent.shared.put_away(&sent.connection);
        self.doubt();
    }

    /// After a call that failed: on a connection whose answer is late everyone else's would be late as well, and the
    /// network may have forgotten it.
    pub(super) fn suspect(&self, waiting: Option<&Sent>) {
        match waiting {
            Some(sent) => self.put_away(sent),
            None => _ = self.doubt(),
        }
    }

    /// Connects, and checks that the servers can keep sessions.
    pub(super) async fn check(&self) -> Result<(), Failure> {
        let Self::Cluster(cluster) = self else {
            return check(&self.reach("", None).await?.connection).await;
        };
        let mut checks = JoinSet::new();
        for node in cluster.owners().await? {
            checks.spawn(async move {
                let sent = Sent::on(&node.shared, || Connection::open(&node.info)).await?;
                check(&sent.connection).await
            });
        }
        while let Some(checked) = checks.join_next().await {
            // It fails by itself only when the runtime is shutting down.
            checked.unwrap_or(Ok(()))?;
        }
        Ok(())
    }
}

impl fmt::Display for Servers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(info, _) => info.addr().fmt(f),
            Self::Sentinel(sentinel, _) => sentinel.fmt(f),
            Self::Cluster(cluster) => cluster.fmt(f),
        }
    }
}

impl Sent {
    async fn on<Opening>(shared: &Shared, open: impl FnOnce() -> Opening) -> Result<Self, Failure>
    where
        Opening: Future<Output = Result<Connection, Failure>>,
    {
        Ok(Self { connection: shared.get(open).await?, shared: shared.clone() })
    }
}

/// What may help against an error.
enum Remedy {
    /// The server does not know the script: it was not run.
    SendCode,
    /// The slot has another owner: nothing was done.
    Follow {
        slot: Slot,
        host: String,
        port: u16,
    },
    /// The slot is moving, and the key has gone ahead: nothing was done.
    AskSuccessor {
        host: String,
        port: u16,
    },
    /// The server is a replica now, and wrote nothing.
    FindMaster,
    /// The connection broke: perhaps before the request had arrived, perhaps after it was done.
    Repeat,
    Nothing,
}

impl Remedy {
    fn of(cause: &RedisError, server: &str) -> Self {
        use ServerErrorKind::{Ask, Moved, NoScript, ReadOnly};
        let redirect = || {
            let (address, slot) = cause.redirect_node()?;
            let (host, port) = address.rsplit_once(':')?;
            // A node that does not know its own name leaves it out: it is where it was asked.
            let host = if matches!(host, "" | "?") { server.rsplit_once(':')?.0 } else { host };
            Some((Slot::new(slot)?, host.to_owned(), port.parse().ok()?))
        };
        match cause.kind() {
            ErrorKind::Server(NoScript) => Self::SendCode,
            ErrorKind::Server(Moved) => {
                redirect().map_or(Self::Nothing, |(slot, host, port)| Self::Follow { slot, host, port })
            }
            ErrorKind::Server(Ask) => {
                redirect().map_or(Self::Nothing, |(_, host, port)| Self::AskSuccessor { host, port })
            }
            ErrorKind::Server(ReadOnly) => Self::FindMaster,
            ErrorKind::Io | ErrorKind::Parse => Self::Repeat,
            _ => Self::Nothing,
        }
    }
}

/// Refuses a server that does not run scripts, that accepts no writes, or that makes room by dropping live sessions.
async fn check(connection: &Connection) -> Result<(), Failure> {
    connection.run(&load_scripts()).await.map_err(|cause| connection.failed(cause))?;
    let info: String = match connection.ask(&redis::cmd("INFO")).await {
        Ok(info) => info,
        // Some hosters forbid it. Then a full or read-only server shows at the first save.
        Err(cause) if matches!(cause.kind(), ErrorKind::Server(_)) => return Ok(()),
        Err(cause) => return Err(connection.failed(cause)),
    };
    let value = |name| {
        info.lines()
            .find_map(|line| line.split_once(':').filter(|(key, _)| *key == name))
            .map(|(_, value)| value)
    };
    if value("role") == Some("slave") {
        return Err(connection.failed(Unfit::Replica));
    }
    match value("maxmemory_policy") {
        Some(policy) if policy != "noeviction" && value("maxmemory") != Some("0") => {
            Err(connection.failed(Unfit::Evicts { policy: policy.to_owned() }))
        }
        _ => Ok(()),
    }
}

#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("it is a replica, and accepts no writes")]
    Replica,
    #[error("it drops live sessions when its memory is full: maxmemory-policy is {policy}, not noeviction")]
    Evicts { policy: String },
}

/// As many as it takes when a connection breaks and the key is on its way to a node that does not know the script.
const STEPS: u32 = 6;
