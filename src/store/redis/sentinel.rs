//! The server that a group of Sentinels calls the master.

use std::fmt;

use redis::{ConnectionInfo, Role};
use tokio::task::JoinSet;

use super::connection::{Connection, Failure, elsewhere};

/// One master with its replicas, watched by Sentinels.
pub(super) struct Sentinel {
    sentinels: Vec<ConnectionInfo>,
    name: String,
    login: ConnectionInfo,
}

impl Sentinel {
    /// `login` holds what a connection to the master needs beside its address.
    pub(super) fn new(sentinels: Vec<ConnectionInfo>, name: String, login: ConnectionInfo) -> Self {
        Self { sentinels, name, login }
    }

    /// A connection to the master. All Sentinels are asked at once, because any of them may be gone. The first whose answer leads to a server that
    /// itself says that it is the master is right.
    pub(super) async fn find(&self) -> Result<Connection, Failure> {
        let mut asked = JoinSet::new();
        for sentinel in &self.sentinels {
            asked.spawn(find_by(sentinel.clone(), self.name.clone(), self.login.clone()));
        }
        let mut failure = None;
        while let Some(answer) = asked.join_next().await {
            match answer {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(cause)) => failure = Some(cause),
                // The runtime is shutting down.
                Err(_) => {}
            }
        }
        Err(failure.unwrap_or_else(|| Failure::new(&self.to_string(), NoSentinel)))
    }
}

impl fmt::Display for Sentinel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<String> = self.sentinels.iter().map(|info| info.addr().to_string()).collect();
        write!(f, "{} of the Sentinels {}", self.name, addresses.join(", "))
    }
}

async fn find_by(
    sentinel: ConnectionInfo,
    name: String,
    login: ConnectionInfo,
) -> Result<Connection, Failure> {
    let asked = Connection::open(&sentinel).await?;
    let mut question = redis::cmd("SENTINEL");
    question.arg("GET-MASTER-ADDR-BY-NAME").arg(&name);
    let address: Option<(String, u16)> = asked.ask(&question).await.map_err(|cause| asked.failed(cause))?;
    let Some((host, port)) = address else { return Err(asked.failed(UnknownMaster(name))) };

    let found = Connection::open(&elsewhere(&login, host, port)).await?;
    match found.ask(&redis::cmd("ROLE")).await {
        Ok(Role::Primary { .. }) => Ok(found),
        Ok(_) => Err(found.failed(NotMaster)),
        Err(cause) => Err(found.failed(cause)),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("no Sentinel could be asked")]
struct NoSentinel;

#[derive(Debug, thiserror::Error)]
#[error("this Sentinel watches no master named {0:?}")]
struct UnknownMaster(String);

#[derive(Debug, thiserror::Error)]
#[error("the Sentinels name it, but it is not the master")]
struct NotMaster;
