//! The store that a URL names.
//!
//! | URL                        | feature     |                                                         |
//! | -------------------------- | ----------- | ------------------------------------------------------- |
//! | `memory:`                  |             | this process's memory                                   |
//! | `sqlite:PATH`              | `sqlite`    | a file on this machine                                  |
//! | `postgres://..`            | `postgres`  | `PostgreSQL`; the table is made where there is none     |
//! | `mysql://..`               | `mysql`     | `MySQL` or `MariaDB`; the table likewise                |
//! | `redis://..`               | `redis`     | one Redis server                                        |
//! | `memcached://HOST:PORT`    | `memcached` | one memcached, which forgets what it holds when it ends |

use std::error::Error;
use std::sync::Arc;

#[cfg(feature = "cached")]
use hardtack::store::CachedStore;
#[cfg(feature = "memcached")]
use hardtack::store::MemcachedStore;
#[cfg(feature = "mysql")]
use hardtack::store::MySqlStore;
#[cfg(feature = "postgres")]
use hardtack::store::PostgresStore;
#[cfg(feature = "redis")]
use hardtack::store::RedisStore;
use hardtack::store::{MemoryStore, SqliteStore, Store};

use crate::settings::Copies;

/// Opens the store, with this process's own copies in front of it.
pub(crate) async fn open(url: &str, copies: Copies) -> Result<Arc<dyn Store>, Box<dyn Error>> {
    let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
    let store = match scheme {
        "memory" => copies.before(MemoryStore::default()),
        "sqlite" => copies.before(SqliteStore::open(rest).await?),
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => {
            let store = PostgresStore::connect(url).await?;
            store.create_schema().await?;
            copies.before(store)
        }
        #[cfg(feature = "mysql")]
        "mysql" => {
            let store = MySqlStore::connect(url).await?;
            store.create_schema().await?;
            copies.before(store)
        }
        #[cfg(feature = "redis")]
        "redis" => copies.before(RedisStore::connect(url).await?),
        #[cfg(feature = "memcached")]
        "memcached" => copies.before(MemcachedStore::connect(rest.trim_start_matches('/')).await?),
        other => Err(missing(other)),
    };
    Ok(store?)
}

impl Copies {
    /// The store, behind these copies where there are to be any.
    #[cfg(feature = "cached")]
    #[expect(clippy::unnecessary_wraps, reason = "without the feature, it may fail")]
    fn before(self, store: impl Store) -> Result<Arc<dyn Store>, String> {
        Ok(if self.bytes == 0 {
            Arc::new(store)
        } else {
            Arc::new(CachedStore::new(store, self.bytes).fresh_for(self.fresh_for))
        })
    }

    #[cfg(not(feature = "cached"))]
    fn before(self, store: impl Store) -> Result<Arc<dyn Store>, String> {
        if self.bytes == 0 { Ok(Arc::new(store)) } else { Err(lacks("SESSION_CACHE", "cached")) }
    }
}

/// Why there is no store of this scheme.
fn missing(scheme: &str) -> String {
    let feature = match scheme {
        "postgres" | "postgresql" => "postgres",
        "mysql" | "redis" | "memcached" => scheme,
        _ => return "SESSION_STORE is not the URL of a store that this program knows".to_owned(),
    };
    lacks("SESSION_STORE", feature)
}

fn lacks(variable: &str, feature: &str) -> String {
    format!("{variable} needs what this program lacks: build with --features {feature}")
}

/// The store's address as people may read it: without the user, the password and the options.
pub(crate) fn address(url: &str) -> String {
    let url = url.split('?').next().unwrap_or_default();
    match url.split_once("://").map(|(scheme, rest)| (scheme, rest.rsplit_once('@'))) {
        Some((scheme, Some((_, host)))) => format!("{scheme}://{host}"),
        _ => url.to_owned(),
    }
}
