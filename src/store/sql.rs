//! What a row of `hardtack_sessions` holds, in every SQL database: ids as bytes, the rest as signed 64-bit integers.

use std::error::Error;

use time::OffsetDateTime;

use super::{Record, RecordId};

/// `version`, `expires_at` in seconds since 1970, and `sealed`.
pub(super) type Row = (i64, i64, Vec<u8>);

/// The record that a row holds, unless no store wrote it.
pub(super) fn record(
    id: &RecordId,
    (version, expires_at, sealed): Row,
) -> Result<Record, Box<dyn Error + Send + Sync>> {
    Ok(Record {
        id: *id,
        version: version.try_into()?,
        expires_at: OffsetDateTime::from_unix_timestamp(expires_at)?,
        sealed,
    })
}

/// A version to compare with the column. No record is at one that the column cannot hold, and NULL equals nothing.
pub(super) fn comparable(version: u64) -> Option<i64> {
    version.try_into().ok()
}
