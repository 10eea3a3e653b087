//! The small cookie that carries the time of the last request, so that a read need not reseal the state.
//!
//! ```text
//! kid || LE32(seconds) || HMAC-SHA-256(Km of kind "seen", kid || session id || LE32(seconds))[..16]
//! ```
//!
//! 24 octets, 32 characters of base64url.

use base64_simd::URL_SAFE_NO_PAD;

use crate::aead::{Kind, MAC_LEN, Mac, Root};
use crate::key::KeyId;
use crate::ring::KeyRing;
use crate::session::SessionId;

/// The characters of a seen cookie's value.
pub(crate) const TEXT_LEN: usize = LEN / 3 * 4;

const LEN: usize = KeyId::LEN + 4 + MAC_LEN;

/// The MAC keys for it, one a key, in the order of the ring.
pub(crate) struct Seen {
    keys: Vec<(KeyId, Mac)>,
}

impl Seen {
    pub(crate) fn bind(ring: &KeyRing, app: &str, name: &str) -> Self {
        let bind = |(id, key)| (id, Root::new(key).sealer(app, name, Kind::Seen).mac);
        Self { keys: ring.keys().map(bind).collect() }
    }

    /// The value that says: this session was used then.
    pub(crate) fn seal(&self, index: usize, session: &SessionId, seconds: u64) -> String {
        let (id, mac) = &self.keys[index];
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX).to_le_bytes();
        let mac = mac.compute(&message(*id, session, seconds));
        URL_SAFE_NO_PAD.encode_to_string([id.as_bytes(), seconds.as_slice(), &mac].concat())
    }

    /// When this session was last used, if the value says so and was made here.
    pub(crate) fn open(
        &self,
        session: &SessionId,
        text: impl AsRef<[u8]>,
        may_open: impl FnOnce(usize) -> bool,
    ) -> Option<u64> {
        let text = text.as_ref();
        if text.len() != TEXT_LEN {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode_to_vec(text).ok()?;
        let (id, rest) = bytes.split_first_chunk::<{ KeyId::LEN }>()?;
        let (seconds, mac) = rest.split_first_chunk::<4>()?;
        let index = self.keys.iter().position(|(key, _)| key.as_bytes() == id)?;
        let (id, key) = &self.keys[index];
        let genuine = may_open(index) && key.verify(&message(*id, session, *seconds), mac.try_into().ok()?);
        genuine.then(|| u32::from_le_bytes(*seconds).into())
    }
}

fn message(id: KeyId, session: &SessionId, seconds: [u8; 4]) -> [u8; KeyId::LEN + 16 + 4] {
    let mut message = [0; KeyId::LEN + 16 + 4];
    message[..4].copy_from_slice(id.as_bytes());
    message[4..20].copy_from_slice(session.as_bytes());
    message[20..].copy_from_slice(&seconds);
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Key;

    const ID: SessionId = SessionId::from_bytes([3; 16]);

    fn seen() -> Seen {
        let ring = KeyRing::new([Key::unchecked([1; 32]), Key::unchecked([2; 32])]).expect("two keys");
        Seen::bind(&ring, "shop", "__Host-session")
    }

    #[track_caller]
    fn refused(text: &str) {
        assert_eq!(seen().open(&ID, text, |_| true), None, "{text}");
    }

    #[test]
    fn the_time_comes_back_in_32_characters_under_either_key() {
        for index in 0..2 {
            for seconds in [0, 1, 1_760_000_000, u64::from(u32::MAX)] {
                let text = seen().seal(index, &ID, seconds);
                assert_eq!(text.len(), 32);
                assert_eq!(text.len(), TEXT_LEN);
                assert_eq!(seen().open(&ID, &text, |key| key == index), Some(seconds));
                assert_eq!(seen().open(&ID, &text, |key| key != index), None);
            }
        }
    }

    #[test]
    fn a_time_beyond_32_bits_stays_at_their_last_second() {
        for seconds in [1 << 32, u64::MAX] {
            let text = seen().seal(0, &ID, seconds);
            assert_eq!(seen().open(&ID, &text, |_| true), Some(u32::MAX.into()));
        }
    }

    #[test]
    fn any_bit_flipped_and_any_other_length_are_refused() {
        let bytes = URL_SAFE_NO_PAD.decode_to_vec(seen().seal(0, &ID, 1_760_000_000)).expect("base64url");
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            refused(&URL_SAFE_NO_PAD.encode_to_string(flipped));
        }
        for len in 0..LEN {
            refused(&URL_SAFE_NO_PAD.encode_to_string(&bytes[..len]));
        }
        refused(&URL_SAFE_NO_PAD.encode_to_string([bytes.as_slice(), &[0]].concat()));
        refused(&"\u{1f36a}".repeat(8));
    }

    #[test]
    fn the_cookie_of_another_session_is_worth_nothing() {
        refused(&seen().seal(0, &SessionId::from_bytes([4; 16]), 1_760_000_000));
    }

    #[test]
    fn a_key_does_not_vouch_for_the_other() {
        let mut bytes = URL_SAFE_NO_PAD.decode_to_vec(seen().seal(0, &ID, 1)).expect("base64url");
        bytes[..KeyId::LEN].copy_from_slice(seen().keys[1].0.as_bytes());
        refused(&URL_SAFE_NO_PAD.encode_to_string(bytes));
    }
}
