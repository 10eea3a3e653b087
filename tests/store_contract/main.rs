//! One suite holds every store to the contract that the documentation of `Store` states; beside it stands
//! what only one backend promises.

#[cfg(feature = "cached")]
mod cached;
mod cases;
#[cfg(any(
    feature = "sqlite",
    feature = "postgres",
    feature = "mysql",
    feature = "redis",
    feature = "memcached"
))]
mod increments;
#[cfg(feature = "memcached")]
mod memcached;
mod memory;
#[cfg(feature = "mirrored")]
mod mirrored;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
#[cfg(any(feature = "postgres", feature = "mysql", feature = "redis", feature = "memcached"))]
#[path = "../servers/mod.rs"]
mod servers;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod sql_server;
#[cfg(feature = "sqlite")]
mod sqlite;
