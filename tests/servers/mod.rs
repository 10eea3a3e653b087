//! Real servers for tests, from Debian's packages, and a proxy that breaks the way to them.
//!
//! Each runs on a free port, in a folder of its own, without any configuration of this machine; what says that it is
//! ready is its own output, so nothing sleeps. It is killed, by its own process id, when its value is dropped, and by
//! the kernel when the test dies first.
#![allow(dead_code, unused_imports, reason = "each test program uses some of them")]

mod mariadb;
mod memcached;
mod nginx;
mod postgres;
mod process;
mod proxy;
mod redis;

pub(crate) use mariadb::Mariadb;
pub(crate) use memcached::Memcached;
pub(crate) use nginx::Nginx;
pub(crate) use postgres::Postgres;
pub(crate) use process::{Process, command, command_as, free_port};
pub(crate) use proxy::{Proxy, Way};
pub(crate) use redis::{Cluster, Redis, Sentinels, until};
