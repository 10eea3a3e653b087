//! The v1 token: what is sealed, as bytes and as text.
//!
//! ```text
//! version     1   0x01
//! kid         4   fingerprint of the key
//! nonce      24   fresh for every seal
//! ciphertext  n   XAES-256-GCM(Ke, nonce, plaintext, aad = version || kid || A)
//! tag        16   its tag
//! mac        16   HMAC-SHA-256(Km, version || kid || nonce || tag), leftmost 128 bits
//! ```
//!
//! The MAC commits a token to one key and one purpose, which AES-GCM alone does not, and turns junk away before any
//! AES runs. `manual/format.md` says the rest.

use std::ops::Range;

use base64_simd::URL_SAFE_NO_PAD;

use crate::aead::{Kind, MAC_LEN, NONCE_LEN, Root, Sealer, TAG_LEN};
use crate::error::Reason;
use crate::key::KeyId;
use crate::ring::KeyRing;
use crate::wiped::Wiped;

/// What a token adds to its plaintext, in octets.
pub(crate) const OVERHEAD: usize = HEADER + TAG_LEN + MAC_LEN;

const VERSION: u8 = 1;

/// Version and kid, which the cipher takes as associated data.
const PREFIX: usize = 1 + KeyId::LEN;
const HEADER: usize = PREFIX + NONCE_LEN;

/// The sealers of one purpose, a key each, in the order of the ring.
pub(crate) struct Tokens {
    keys: Vec<(KeyId, Sealer)>,
}

/// An opened token: its plaintext, where it was decrypted, and the key.
pub(crate) struct Plain {
    pub(crate) bytes: Wiped,
    pub(crate) range: Range<usize>,
    pub(crate) key: KeyId,
}

impl Plain {
    pub(crate) fn payload(&self) -> &[u8] {
        &self.bytes[self.range.clone()]
    }
}

impl Tokens {
    pub(crate) fn bind(ring: &KeyRing, app: &str, name: &str, kind: Kind) -> Self {
        let bind = |(id, key)| (id, Root::new(key).sealer(app, name, kind));
        Self { keys: ring.keys().map(bind).collect() }
    }

    pub(crate) fn key_id(&self, index: usize) -> KeyId {
        self.keys[index].0
    }

    /// Seals what `write` appends, at most `len` octets, under the ring's key `index`; `bound` is A.
    pub(crate) fn seal(
        &self,
        index: usize,
        bound: &[u8],
        nonce: &[u8; NONCE_LEN],
        len: usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Vec<u8> {
        let (id, sealer) = &self.keys[index];
        let mut token = Vec::with_capacity(OVERHEAD + len);
        token.push(VERSION);
        token.extend_from_slice(id.as_bytes());
        token.extend_from_slice(nonce);
        write(&mut token);

        let (header, plaintext) = token.split_at_mut(HEADER);
        let tag = sealer.encrypt(nonce, &[&header[..PREFIX], bound].concat(), plaintext);
        let mac = sealer.mac.compute(&committed(header, &tag));
        token.extend_from_slice(&tag);
        token.extend_from_slice(&mac);
        token
    }

    /// Opens a token under the key that it names, if `may_open` allows the ring's key of that index.
    pub(crate) fn open(
        &self,
        bound: &[u8],
        mut token: Vec<u8>,
        may_open: impl FnOnce(usize) -> bool,
    ) -> Result<Plain, Reason> {
        if token.len() < OVERHEAD {
            return Err(Reason::Malformed);
        }
        let (header, rest) = token.split_at_mut(HEADER);
        let (rest, mac) = rest.split_last_chunk_mut().expect("not shorter than the overhead");
        let (ciphertext, tag) = rest.split_last_chunk_mut().expect("not shorter than the overhead");
        let index = self.known(header)?;
        if !may_open(index) {
            return Err(Reason::UnknownKey);
        }
        let (key, sealer) = &self.keys[index];
        if !sealer.mac.verify(&committed(header, tag), mac) {
            return Err(Reason::Forged);
        }
        let nonce = header.last_chunk().expect("the nonce ends the header");
        if !sealer.decrypt(nonce, &[&header[..PREFIX], bound].concat(), ciphertext, tag) {
            return Err(Reason::Forged);
        }
        let range = HEADER..HEADER + ciphertext.len();
        Ok(Plain { bytes: Wiped::from(token), range, key: *key })
    }

    /// Whether a token's text names our version and a key that we know: all that junk costs.
    pub(crate) fn peek(&self, text: &str) -> Result<(), Reason> {
        let start = text.as_bytes().first_chunk::<8>().ok_or(Reason::Malformed)?;
        let mut prefix = [0; 6];
        let prefix = URL_SAFE_NO_PAD
            .decode(start, base64_simd::Out::from_slice(&mut prefix))
            .map_err(|_| Reason::Malformed)?;
        self.known(prefix).map(drop)
    }

    /// The index of the key that a token names.
    fn known(&self, token: &[u8]) -> Result<usize, Reason> {
        if token[0] != VERSION {
            return Err(Reason::Version);
        }
        let id = &token[1..PREFIX];
        self.keys.iter().position(|(key, _)| key.as_bytes() == id).ok_or(Reason::UnknownKey)
    }
}

/// What the MAC covers. The tag stands for the ciphertext, so the cost is constant: one block of the hash.
fn committed(header: &[u8], tag: &[u8; TAG_LEN]) -> [u8; HEADER + TAG_LEN] {
    let mut message = [0; HEADER + TAG_LEN];
    message[..HEADER].copy_from_slice(header);
    message[HEADER..].copy_from_slice(tag);
    message
}

/// A token as a cookie carries it: base64url without padding.
pub(crate) fn to_text(token: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode_to_string(token)
}

/// The octets of a token's text, if it is in canonical form (one text per token) and long enough.
pub(crate) fn from_text(text: &str) -> Result<Vec<u8>, Reason> {
    if text.len() < text_len(OVERHEAD) {
        return Err(Reason::Malformed);
    }
    URL_SAFE_NO_PAD.decode_to_vec(text).map_err(|_| Reason::Malformed)
}

/// The characters of a token's text.
pub(crate) const fn text_len(octets: usize) -> usize {
    (octets * 4).div_ceil(3)
}
