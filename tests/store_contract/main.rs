//! One suite holds every store to the contract that the documentation of `Store` states; beside it stands
//! what only one backend promises.

#[cfg(feature = "cached")]
mod cached;
mod cases;
#[cfg(feature = "memcached")]
mod memcached;
mod memory;
#[cfg(feature = "mirrored")]
mod mirrored;
#[cfg(feature = "sqlite")]
mod sqlite;

#[cfg(feature = "memcached")]
#[path = "../servers/mod.rs"]
mod servers;
