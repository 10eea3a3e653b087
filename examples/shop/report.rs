//! What is to be told about a session.

use axum::http::HeaderMap;
use axum::http::header::COOKIE;
use hardtack::{Placement, Session, Usage};
use serde::Serialize;
use time::OffsetDateTime;

use crate::Shop;

/// The answer of `GET /session.json`.
#[derive(Serialize)]
pub(crate) struct Report {
    placement: &'static str,
    cookies: u8,
    items: usize,
    user: Option<String>,
    #[serde(with = "time::serde::rfc3339::option")]
    created_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    expires_at: Option<OffsetDateTime>,
    key_id: Option<String>,
    bytes: Bytes,
}

/// What it takes, or would take if it were written now.
#[derive(Serialize)]
struct Bytes {
    value: usize,
    payload: usize,
    header: usize,
    budget: usize,
}

impl Report {
    pub(crate) fn new(session: &Session<Shop>, usage: &Usage) -> Self {
        let (placement, cookies) = match session.placement() {
            None => ("cookie", 0),
            Some(Placement::Cookies(1)) => ("cookie", 1),
            Some(Placement::Cookies(count)) => ("cookies", count),
            // The reference.
            Some(Placement::Stored) => ("stored", 1),
        };
        let &Usage { value, payload, header, budget, .. } = usage;
        Self {
            placement,
            cookies,
            items: session.cart.len(),
            user: session.user.clone(),
            created_at: session.created_at(),
            expires_at: session.expires_at(),
            key_id: session.key_id().map(|id| id.to_string()),
            bytes: Bytes { value, payload, header, budget },
        }
    }
}

/// A cookie as the browser sent it.
pub(crate) struct Sent {
    pub(crate) name: String,
    pub(crate) len: usize,
    pub(crate) beginning: String,
}

/// The session's own cookies among those of the request.
pub(crate) fn sent(headers: &HeaderMap, name: &str) -> Vec<Sent> {
    let ours =
        |other: &str| other.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let mut sent = Vec::new();
    for header in headers.get_all(COOKIE) {
        let header = String::from_utf8_lossy(header.as_bytes());
        let pairs = header.split(';').filter_map(|pair| pair.trim().split_once('='));
        sent.extend(pairs.filter(|(name, _)| ours(name)).map(|(name, value)| Sent {
            name: name.to_owned(),
            len: value.len(),
            beginning: value.chars().take(12).collect(),
        }));
    }
    sent
}
