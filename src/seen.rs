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
use crate::token;

/// The characters of a seen cookie's value.
pub(crate) const TEXT_LEN: usize = token::text_len(LEN);

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
        text: &str,
        may_open: impl FnOnce(usize) -> bool,
    ) -> Option<u64> {
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
