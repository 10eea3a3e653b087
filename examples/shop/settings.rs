//! What the environment says.
//!
//! | variable            | default              |                                                                    |
//! | ------------------- | -------------------- | ------------------------------------------------------------------ |
//! | `HOST`, `PORT`      | `127.0.0.1`, `3000`  | where to listen; port 0 takes a free one                           |
//! | `SESSION_STORE`     | `sqlite:$SESSION_DB` | where carts go that outgrow cookies: a URL, see `store.rs`         |
//! | `SESSION_DB`        | `sessions.db`        | the `SQLite` file, where `SESSION_STORE` says nothing else         |
//! | `SESSION_CACHE`     | `0`                  | MiB for this process's own copies in front of a shared store       |
//! | `SESSION_FRESH_FOR` | `5`                  | for how many seconds such a copy is served                         |
//! | `SESSION_AFFINITY`  | none                 | the name of a cookie that a load balancer may hash on              |
//! | `SESSION_KEYS_FILE` | `session-keys.json`  | the key ring, made at the first start                              |
//! | `SESSION_COOKIES`   | one, 3,000 octets    | how many cookies a session may take; `0` sends all to the store    |
//! | `SESSION_SECURE`    | `0`                  | `1` where HTTPS is in front: the cookie becomes `__Host-shop`      |

use std::env::{self, VarError};
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use hardtack::Budget;

pub(crate) struct Settings {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// The URL of the store; it may hold a password.
    pub(crate) store: String,
    pub(crate) copies: Copies,
    pub(crate) affinity: Option<String>,
    pub(crate) keys: PathBuf,
    pub(crate) budget: Budget,
    pub(crate) secure: bool,
}

/// A node's own copies of stored records.
#[derive(Clone, Copy)]
pub(crate) struct Copies {
    /// How much memory they take; 0 is none at all.
    pub(crate) bytes: u64,
    pub(crate) fresh_for: Duration,
}

impl Settings {
    pub(crate) fn from_env() -> Result<Self, String> {
        Ok(Self {
            host: text("HOST")?.unwrap_or_else(|| "127.0.0.1".into()),
            port: number("PORT", 0, u16::MAX)?.unwrap_or(3000),
            store: match text("SESSION_STORE")? {
                Some(url) => url,
                None => format!("sqlite:{}", text("SESSION_DB")?.as_deref().unwrap_or("sessions.db")),
            },
            copies: Copies {
                bytes: number("SESSION_CACHE", 0, 1 << 20)?.unwrap_or(0) << 20,
                fresh_for: Duration::from_secs(number("SESSION_FRESH_FOR", 0, 86_400)?.unwrap_or(5)),
            },
            affinity: text("SESSION_AFFINITY")?,
            keys: path("SESSION_KEYS_FILE", "session-keys.json"),
            budget: match number("SESSION_COOKIES", 0, 63)? {
                None => Budget::default(),
                Some(0) => Budget::stored(),
                Some(cookies) => Budget::chunked(cookies),
            },
            secure: number("SESSION_SECURE", 0, 1)? == Some(1u8),
        })
    }

    /// An application that is always behind HTTPS takes the `__Host-` name and leaves it at that.
    ///
    /// This one is to be tried over plain HTTP, with whatever is at hand. Chrome, Firefox and today's curl
    /// count `http://localhost` and `http://127.0.0.1` as secure and keep a `Secure` cookie from there. Safari, the
    /// cookie jars of most HTTP libraries, and every client that comes by another address, drop it without a word.
    pub(crate) fn cookie_name(&self) -> &'static str {
        if self.secure { "__Host-shop" } else { "shop" }
    }
}

fn number<N>(variable: &str, least: N, most: N) -> Result<Option<N>, String>
where
    N: Copy + Display + FromStr + PartialOrd,
{
    let Some(text) = text(variable)? else { return Ok(None) };
    match text.parse() {
        Ok(number) if number >= least && number <= most => Ok(Some(number)),
        _ => Err(format!("{variable}={text:?} is not a number from {least} to {most}")),
    }
}

fn text(variable: &str) -> Result<Option<String>, String> {
    match env::var(variable) {
        Ok(text) => Ok(Some(text)),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(_)) => Err(format!("{variable} is not Unicode")),
    }
}

fn path(variable: &str, default: &str) -> PathBuf {
    env::var_os(variable).unwrap_or_else(|| default.into()).into()
}
