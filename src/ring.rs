//! The keys that an application holds, and which of them seals and opens at a given time.

use std::time::SystemTime;

use time::OffsetDateTime;

use crate::aead::Root;
use crate::key::{Key, KeyError, KeyId};
use crate::lifetime::seconds;

/// The keys of an application: one seals, all that have not expired open.
///
/// To rotate, put the new key first and keep the old ones until the longest session under them has ended. A session
/// under an older key is resealed under the new one when it next changes.
///
/// ```
/// use hardtack::{Key, KeyRing, OsRandom};
///
/// let old = Key::generate(&mut OsRandom)?;
/// let new = Key::generate(&mut OsRandom)?;
/// let ring = KeyRing::new([new, old])?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct KeyRing {
    entries: Vec<Held>,
}

#[derive(Clone, Debug)]
struct Held {
    id: KeyId,
    entry: RingEntry,
}

/// A key and the times of its life. Times that are not given set no limit.
#[derive(Clone, Debug)]
pub struct RingEntry {
    key: Key,
    pub(crate) created_at: Option<OffsetDateTime>,
    pub(crate) activates_at: Option<OffsetDateTime>,
    pub(crate) retires_at: Option<OffsetDateTime>,
    pub(crate) expires_at: Option<OffsetDateTime>,
    pub(crate) revoked_at: Option<OffsetDateTime>,
}

impl RingEntry {
    /// A key that seals and opens without limit of time.
    pub const fn new(key: Key) -> Self {
        Self {
            key,
            created_at: None,
            activates_at: None,
            retires_at: None,
            expires_at: None,
            revoked_at: None,
        }
    }

    /// When the key was made. Where no activation is given, this is the time that the choice of the sealing key goes by.
    #[must_use]
    pub fn created_at(self, time: OffsetDateTime) -> Self {
        Self { created_at: Some(time), ..self }
    }

    /// From when on the key may seal. It opens before that too, since another node's clock may be ahead.
    #[must_use]
    pub fn activates_at(self, time: OffsetDateTime) -> Self {
        Self { activates_at: Some(time), ..self }
    }

    /// From when on the key no longer seals.
    #[must_use]
    pub fn retires_at(self, time: OffsetDateTime) -> Self {
        Self { retires_at: Some(time), ..self }
    }

    /// From when on the key no longer opens.
    #[must_use]
    pub fn expires_at(self, time: OffsetDateTime) -> Self {
        Self { expires_at: Some(time), ..self }
    }

    /// Since when the key is not to be trusted: it neither seals nor opens.
    #[must_use]
    pub fn revoked_at(self, time: OffsetDateTime) -> Self {
        Self { revoked_at: Some(time), ..self }
    }

    fn may_seal(&self, now: u64) -> bool {
        self.may_open(now)
            && self.activates_at.is_none_or(|time| seconds(time) <= now)
            && self.retires_at.is_none_or(|time| now < seconds(time))
    }

    fn may_open(&self, now: u64) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|time| now < seconds(time))
    }
}

impl From<Key> for RingEntry {
    fn from(key: Key) -> Self {
        Self::new(key)
    }
}

impl KeyRing {
    /// A ring of these entries. Of those that may seal, the one that was activated last does, and the earlier in the
    /// list where that is equal: a list of plain keys has its primary first.
    ///
    /// # Errors
    ///
    /// If there is no entry, a key is there twice, or two keys happen to have one [`KeyId`].
    pub fn new<E: Into<RingEntry>>(entries: impl IntoIterator<Item = E>) -> Result<Self, RingError> {
        let mut held: Vec<Held> = Vec::new();
        for entry in entries.into_iter().map(Into::into) {
            let id = Root::new(&entry.key).key_id();
            if held.iter().any(|other| other.id == id) {
                return Err(RingError::Twice { id });
            }
            held.push(Held { id, entry });
        }
        if held.is_empty() {
            return Err(RingError::Empty);
        }
        Ok(Self { entries: held })
    }

    /// Parses base64 keys that are separated by white space or commas; the first is the primary.
    ///
    /// # Errors
    ///
    /// If the text is not such a list, or a key of it is refused. The message tells which by number, never its text.
    pub fn parse(list: &str) -> Result<Self, RingError> {
        let words = list.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty());
        let keys = (1..)
            .zip(words)
            .map(|(number, word)| word.parse::<Key>().map_err(|source| RingError::Key { number, source }));
        Self::new(keys.collect::<Result<Vec<_>, _>>()?)
    }

    /// The key that seals at this time. `None` if none may: then sealing fails rather than using a wrong one.
    pub fn sealing_key(&self, now: impl Into<SystemTime>) -> Option<KeyId> {
        self.sealing_index(seconds(now)).map(|index| self.entries[index].id)
    }

    /// The ids of all keys, in the order of the ring.
    pub fn key_ids(&self) -> impl Iterator<Item = KeyId> {
        self.entries.iter().map(|held| held.id)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = (KeyId, &Key)> {
        self.entries.iter().map(|held| (held.id, &held.entry.key))
    }

    pub(crate) fn sealing_index(&self, now: u64) -> Option<usize> {
        let able = self.entries.iter().enumerate().rev().filter(|(_, held)| held.entry.may_seal(now));
        // Of equal activations `max_by_key` takes the last, which is the earlier in the list: hence `rev`.
        able.max_by_key(|(_, held)| held.entry.activates_at.or(held.entry.created_at)).map(|(index, _)| index)
    }

    pub(crate) fn may_open(&self, index: usize, now: u64) -> bool {
        self.entries[index].entry.may_open(now)
    }
}

/// A key ring was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// No key at all.
    #[error("a key ring needs at least one key")]
    Empty,
    /// Two entries cannot be told apart by a token's key id: the same key, or a chance of one in four thousand million.
    #[error("two keys of the ring have the id {id}")]
    Twice {
        /// Their id.
        id: KeyId,
    },
    /// One key of the list was refused.
    #[error("key {number} of the ring")]
    Key {
        /// Which, counting from 1.
        number: usize,
        /// Why.
        source: KeyError,
    },
    /// The ring's source could not be read, or is not in its format.
    #[error("{from}")]
    Source {
        /// The file or variable, and what was done with it.
        from: String,
        /// Why.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;
    use crate::random::OsRandom;

    const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn key() -> Key {
        Key::generate(&mut OsRandom).expect("random bytes")
    }

    fn entry() -> RingEntry {
        RingEntry::new(key())
    }

    #[track_caller]
    fn sealing(entries: Vec<RingEntry>) -> Option<usize> {
        KeyRing::new(entries).expect("different keys").sealing_index(seconds(NOW))
    }

    #[test]
    fn the_first_of_plain_keys_seals() {
        assert_eq!(sealing(vec![entry(), entry(), entry()]), Some(0));
    }

    #[test]
    fn the_latest_activated_seals_wherever_it_stands() {
        let (early, late) = (NOW - Duration::days(9), NOW - Duration::days(1));
        assert_eq!(sealing(vec![entry().activates_at(early), entry().activates_at(late)]), Some(1));
        assert_eq!(sealing(vec![entry().activates_at(late), entry().activates_at(early)]), Some(0));
    }

    #[test]
    fn without_an_activation_the_newest_key_seals() {
        let (early, late) = (NOW - Duration::days(9), NOW - Duration::days(1));
        assert_eq!(sealing(vec![entry().created_at(early), entry().created_at(late)]), Some(1));
        assert_eq!(sealing(vec![entry().created_at(late), entry().created_at(early)]), Some(0));
        assert_eq!(sealing(vec![entry().created_at(late), entry().activates_at(NOW)]), Some(1));
    }

    #[test]
    fn a_key_that_is_not_active_yet_opens_but_does_not_seal() {
        let ring = KeyRing::new([entry().activates_at(NOW + Duration::SECOND), entry()]).expect("two keys");
        assert_eq!(ring.sealing_index(seconds(NOW)), Some(1));
        assert!(ring.may_open(0, seconds(NOW)));
        assert_eq!(ring.sealing_index(seconds(NOW + Duration::SECOND)), Some(0));
    }

    #[test]
    fn without_a_key_that_may_seal_none_does() {
        assert_eq!(sealing(vec![entry().revoked_at(NOW)]), None);
        assert_eq!(sealing(vec![entry().retires_at(NOW)]), None);
        assert_eq!(sealing(vec![entry().expires_at(NOW)]), None);
        assert_eq!(sealing(vec![entry().activates_at(NOW + Duration::SECOND)]), None);
    }

    #[test]
    fn retired_keys_open_until_they_expire_and_revoked_ones_never() {
        let ring = KeyRing::new([
            entry().retires_at(NOW),
            entry().expires_at(NOW),
            entry().expires_at(NOW + Duration::SECOND),
            entry().revoked_at(NOW + Duration::DAY),
        ])
        .expect("different keys");
        assert_eq!([0, 1, 2, 3].map(|index| ring.may_open(index, seconds(NOW))), [true, false, true, false]);
    }

    #[test]
    fn a_list_is_parsed_in_order_and_its_faults_are_named_by_number() {
        let (a, b) = (key(), key());
        let ring =
            KeyRing::parse(&format!(" {},\n{} ", a.expose_base64(), b.expose_base64())).expect("two keys");
        assert_eq!(ring.sealing_index(seconds(NOW)), Some(0));
        assert_eq!(ring.keys().map(|(_, key)| key.clone()).collect::<Vec<_>>(), [a.clone(), b]);

        let faulty = KeyRing::parse(&format!("{} hunter2", a.expose_base64())).unwrap_err();
        assert_eq!(faulty.to_string(), "key 2 of the ring");
        assert!(matches!(KeyRing::parse(" , ").unwrap_err(), RingError::Empty));
        // A string where a list was meant: its letters are no keys.
        assert!(KeyRing::parse("s e c r e t").is_err());
    }

    #[test]
    fn one_key_twice_is_refused() {
        let a = key();
        let error = KeyRing::new([a.clone(), a]).unwrap_err();
        assert!(matches!(error, RingError::Twice { .. }));
    }

    #[test]
    fn debug_shows_ids_and_no_key() {
        let a = key();
        let shown = format!("{:?}", KeyRing::new([a.clone()]).expect("one key"));
        assert!(shown.contains("KeyId(") && shown.contains("Key(..)"), "{shown}");
        assert!(!shown.contains(&a.expose_base64()));
    }
}
