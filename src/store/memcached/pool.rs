//! The connections to one server.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::protocol::{Connection, Failure};

/// At most so many connections as it was made for; they are opened when they are needed, and kept.
pub(super) struct Pool {
    address: String,
    idle: Mutex<Vec<Connection>>,
    places: Semaphore,
}

impl Pool {
    pub(super) fn new(address: &str, connections: usize) -> Self {
        Self { address: address.to_owned(), idle: Mutex::default(), places: Semaphore::new(connections) }
    }

    /// The server's address, as it was given.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// A connection that is sound as far as this side knows, kept or new. Waits for one if all are in use.
    pub(super) async fn lease(&self) -> Result<Lease<'_>, Failure> {
        let place = self.places.acquire().await.expect("it is never closed");
        let kept = self.sound();
        let was_kept = kept.is_some();
        let connection = match kept {
            Some(connection) => connection,
            None => Connection::open(&self.address).await?,
        };
        Ok(Lease { pool: self, connection: Some(connection), was_kept, _place: place })
    }

    /// Closes what nobody uses: where one connection has failed, the server may have, and the others are of no use.
    pub(super) fn close_idle(&self) {
        self.idle().clear();
    }

    /// One that was kept, if there is one that is still sound. Those that are not are closed.
    fn sound(&self) -> Option<Connection> {
        let mut idle = self.idle();
        std::iter::from_fn(|| idle.pop()).find(Connection::is_sound)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        // A push, a pop and a clear leave a whole vector behind, wherever they panic.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection for one call. Dropped, it goes back if it is still sound, and is closed otherwise: in the middle of a
/// request, because the call failed, ran out of time, or was dropped itself.
pub(super) struct Lease<'a> {
    pool: &'a Pool,
    connection: Option<Connection>,
    was_kept: bool,
    // Freed after the connection has gone back, so that whoever waits for the place finds it.
    _place: SemaphorePermit<'a>,
}

impl Lease<'_> {
    pub(super) fn connection(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("it is taken out when the lease ends")
    }

    /// Whether the connection was there before, so that its other end may have gone unnoticed.
    pub(super) fn was_kept(&self) -> bool {
        self.was_kept
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        self.pool.idle().extend(self.connection.take().filter(Connection::is_sound));
    }
}
