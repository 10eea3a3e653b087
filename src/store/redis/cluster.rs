//! The nodes of a Redis Cluster, and which of them has a key.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redis::cluster_routing::Slot;
use redis::{ConnectionInfo, RedisError, Value, from_redis_value};
use tokio::task::JoinSet;

use super::connection::{Connection, Failure, Shared, address, elsewhere};

/// The crate's own cluster connection is not used, for three reasons: it sends a request again whose answer was lost,
/// and does not say so; it keeps a connection whose server hangs; and while it looks for the nodes, calls to healthy
/// ones wait.
pub(super) struct Cluster {
    seeds: Vec<ConnectionInfo>,
    map: Mutex<Map>,
    doubtful: AtomicBool,
}

#[derive(Default)]
struct Map {
    nodes: HashMap<(String, u16), Arc<Node>>,
    owners: HashMap<Slot, Arc<Node>>,
}

/// A server, and the connection to it.
pub(super) struct Node {
    pub(super) info: ConnectionInfo,
    pub(super) shared: Shared,
}

impl Cluster {
    /// `seeds` are some of the nodes, at least one.
    pub(super) fn new(seeds: Vec<ConnectionInfo>) -> Self {
        Self { seeds, map: Mutex::default(), doubtful: AtomicBool::new(true) }
    }

    /// The node that has the key, as far as is known.
    pub(super) async fn owner(&self, key: &[u8]) -> Result<Arc<Node>, Failure> {
        // One call looks again, and the others go on with what was known: most of it is still right.
        let unsettled = if self.doubtful.swap(false, Ordering::Relaxed) {
            Box::pin(self.look()).await.err()
        } else {
            None
        };
        match self.map().owners.get(&Slot::for_key(key)) {
            Some(node) => Ok(node.clone()),
            None => Err(unsettled.unwrap_or_else(|| Failure::new(&self.to_string(), NoOwner))),
        }
    }

    /// The next call asks the nodes again who has which slots.
    pub(super) fn doubt(&self) {
        self.doubtful.store(true, Ordering::Relaxed);
    }

    /// A node said that the slot's owner is at this address.
    pub(super) fn moved(&self, slot: Slot, host: String, port: u16) {
        let mut map = self.map();
        let node = map.node(&self.seeds[0], host, port);
        map.owners.insert(slot, node);
    }

    /// The node at this address.
    pub(super) fn node(&self, host: String, port: u16) -> Arc<Node> {
        self.map().node(&self.seeds[0], host, port)
    }

    /// Every node that has slots.
    pub(super) async fn owners(&self) -> Result<Vec<Arc<Node>>, Failure> {
        self.look().await?;
        // What was just learned are the owners, and nobody else.
        Ok(self.map().nodes.values().cloned().collect())
    }

    /// Learns who has which slots from the first node that answers: any of them may be gone, so all are asked at once.
    async fn look(&self) -> Result<(), Failure> {
        let mut asked = JoinSet::new();
        for node in self.known() {
            asked.spawn(async move { ranges(&node).await });
        }
        let mut failure = None;
        while let Some(answer) = asked.join_next().await {
            match answer {
                Ok(Ok(ranges)) if ranges.is_empty() => {}
                Ok(Ok(ranges)) => {
                    self.learn(ranges);
                    return Ok(());
                }
                Ok(Err(cause)) => failure = Some(cause),
                // The runtime is shutting down.
                Err(_) => {}
            }
        }
        Err(failure.unwrap_or_else(|| Failure::new(&self.to_string(), NoOwner)))
    }

    fn known(&self) -> Vec<Arc<Node>> {
        let mut map = self.map();
        for seed in &self.seeds {
            if let Some((host, port)) = address(seed) {
                map.node(seed, host, port);
            }
        }
        map.nodes.values().cloned().collect()
    }

    fn learn(&self, ranges: Vec<Range>) {
        let mut map = self.map();
        let old = std::mem::take(&mut *map);
        for Range { first, last, host, port } in ranges {
            let place = (host.clone(), port);
            if let Some(node) = old.nodes.get(&place) {
                map.nodes.insert(place, node.clone());
            }
            let node = map.node(&self.seeds[0], host, port);
            map.owners.extend((first..=last).filter_map(Slot::new).map(|slot| (slot, node.clone())));
        }
    }

    fn map(&self) -> MutexGuard<'_, Map> {
        // Nothing panics between two changes that belong together.
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<String> = self.seeds.iter().map(|seed| seed.addr().to_string()).collect();
        write!(f, "cluster {}", addresses.join(", "))
    }
}

impl Map {
    fn node(&mut self, login: &ConnectionInfo, host: String, port: u16) -> Arc<Node> {
        let node = self.nodes.entry((host, port)).or_insert_with_key(|(host, port)| {
            Arc::new(Node { info: elsewhere(login, host.clone(), *port), shared: Shared::default() })
        });
        node.clone()
    }
}

/// Slots, both ends included, and the address of their master.
struct Range {
    first: u16,
    last: u16,
    host: String,
    port: u16,
}

async fn ranges(node: &Node) -> Result<Vec<Range>, Failure> {
    let connection = node.shared.get(|| Connection::open(&node.info)).await?;
    let mut question = redis::cmd("CLUSTER");
    question.arg("SLOTS");
    let answer = connection.ask(&question).await.and_then(|ranges: Vec<Vec<Value>>| {
        ranges.into_iter().filter_map(|range| self::range(node, range).transpose()).collect()
    });
    answer.map_err(|cause| {
        node.shared.put_away(&connection);
        connection.failed(cause)
    })
}

/// Each range is its first and last slot, its master, and its replicas; each server begins with its host and port.
fn range(asked: &Node, range: Vec<Value>) -> Result<Option<Range>, RedisError> {
    let mut parts = range.into_iter();
    let (Some(first), Some(last), Some(master)) = (parts.next(), parts.next(), parts.next()) else {
        return Ok(None);
    };
    let mut master = from_redis_value::<Vec<Value>>(master)?.into_iter();
    let (Some(host), Some(port)) = (master.next(), master.next()) else { return Ok(None) };
    // A node that does not know its own name leaves it out: it is where it was asked.
    let host = from_redis_value::<Option<String>>(host)?.filter(|host| !matches!(host.as_str(), "" | "?"));
    let Some(host) = host.or_else(|| address(&asked.info).map(|(host, _)| host)) else { return Ok(None) };
    Ok(Some(Range {
        first: from_redis_value(first)?,
        last: from_redis_value(last)?,
        host,
        port: from_redis_value(port)?,
    }))
}

#[derive(Debug, thiserror::Error)]
#[error("no node of the cluster has the slot")]
struct NoOwner;
