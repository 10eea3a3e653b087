//! What is kept of a record in memcached, and for how long.

use time::OffsetDateTime;

use super::protocol::{Failure, Item};

/// The flags of every item that holds a record, by which it is told from what somebody else has put there. The last
/// octet counts the layouts of the value:
///
/// ```text
/// LE64(version) || LE64(expires_at) || sealed
/// ```
///
/// `expires_at` is in seconds since 1970, and decides. What memcached makes of the item's own expiry is coarser.
pub(super) const FLAGS: u32 = u32::from_be_bytes(*b"HTK\x01");

/// The octets before the sealed ones.
pub(super) fn header(version: u64, expires_at: i64) -> [u8; 16] {
    let mut header = [0; 16];
    header[..8].copy_from_slice(&version.to_le_bytes());
    header[8..].copy_from_slice(&expires_at.to_le_bytes());
    header
}

/// A record as a server has it, expired or not.
pub(super) struct Held {
    pub(super) unique: u64,
    pub(super) version: u64,
    pub(super) expires_at: OffsetDateTime,
    pub(super) sealed: Vec<u8>,
}

impl TryFrom<Item> for Held {
    type Error = Failure;

    fn try_from(item: Item) -> Result<Self, Failure> {
        let Item { unique, flags, mut value } = item;
        let (version, rest) = value.split_first_chunk().ok_or(Failure::NoRecord)?;
        let (expires_at, _) = rest.split_first_chunk().ok_or(Failure::NoRecord)?;
        let version = u64::from_le_bytes(*version);
        let expires_at = OffsetDateTime::from_unix_timestamp(i64::from_le_bytes(*expires_at));
        let (FLAGS, true, Ok(expires_at)) = (flags, i64::try_from(version).is_ok(), expires_at) else {
            return Err(Failure::NoRecord);
        };
        Ok(Self { unique, version, expires_at, sealed: value.split_off(16) })
    }
}

/// Whether the second of its expiry is still to come.
pub(super) fn is_live(expires_at: OffsetDateTime) -> bool {
    expires_at.unix_timestamp() > OffsetDateTime::now_utc().unix_timestamp()
}

/// The expiry of an item, as memcached reads it at `now`: a negative one is over, zero is never, up to thirty days
/// are counted from now, and more are seconds since 1970.
///
/// It comes a minute after the record's, because memcached's clock moves once a second, and need not be quite ours.
pub(super) fn exptime(expires_at: OffsetDateTime, now: OffsetDateTime) -> i64 {
    let (expires_at, now) = (expires_at.unix_timestamp(), now.unix_timestamp());
    if expires_at <= now {
        return -1;
    }
    let (until, left) = (expires_at.saturating_add(60), expires_at - now + 60);
    match left {
        ..=THIRTY_DAYS => left,
        // memcached holds it in 32 bits, and what does not fit becomes any other time.
        _ if until > i64::from(i32::MAX) => 0,
        _ => until,
    }
}

const THIRTY_DAYS: i64 = 30 * 24 * 60 * 60;

#[cfg(test)]
mod tests {
    use time::Duration;
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-03-01 12:00:00.9 UTC);

    #[test]
    fn up_to_thirty_days_are_counted_from_now() {
        expires_in(Duration::SECOND, 61);
        expires_in(Duration::HOUR, 3_660);
        expires_in(Duration::days(30) - Duration::MINUTE, 2_592_000);
    }

    #[test]
    fn more_than_thirty_days_are_seconds_since_1970() {
        let start = NOW.unix_timestamp();
        expires_in(Duration::days(30) - Duration::seconds(59), start + 2_592_001);
        expires_in(Duration::days(30) - Duration::SECOND, start + 2_592_059);
        expires_in(Duration::days(30), start + 2_592_060);
        expires_in(Duration::days(400), start + 34_560_060);
    }

    #[test]
    fn what_has_expired_goes_at_once() {
        expires_in(Duration::ZERO, -1);
        expires_in(-Duration::SECOND, -1);
        assert_eq!(exptime(OffsetDateTime::UNIX_EPOCH, NOW), -1);
        assert_eq!(exptime(datetime!(-9999-01-01 00:00 UTC), NOW), -1);
    }

    #[test]
    fn what_32_bits_cannot_hold_stays() {
        assert_eq!(exptime(datetime!(2038-01-19 03:13:07 UTC), NOW), i64::from(i32::MAX));
        assert_eq!(exptime(datetime!(2038-01-19 03:13:08 UTC), NOW), 0);
        assert_eq!(exptime(datetime!(9999-12-31 23:59:59 UTC), NOW), 0);
        // From then on, short ones are still counted from now.
        assert_eq!(exptime(datetime!(2040-01-01 01:00 UTC), datetime!(2040-01-01 00:00 UTC)), 3_660);
    }

    #[track_caller]
    fn expires_in(left: Duration, expected: i64) {
        assert_eq!(exptime(NOW + left, NOW), expected, "{left}");
    }
}
