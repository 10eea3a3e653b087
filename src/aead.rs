//! The ciphers: the one file that imports them.
//!
//! ```text
//! PAE(x1..xn)  = LE64(n) || for each: LE64(len x) || x
//! PRK          = HKDF-Extract(salt = "hardtack v1", ikm = K)
//! kid          = HKDF-Expand(PRK, PAE("kid"), 4)
//! Ke || Km     = HKDF-Expand(PRK, PAE("seal", app, name, kind), 64)
//! Ksub         = HKDF-Expand(PRK, PAE("subject", app), 32)
//! ```

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use xaes_256_gcm::Xaes256Gcm;
use xaes_256_gcm::aead::AeadInOut as _;
use xaes_256_gcm::aead::inout::InOutBuf;
use zeroize::Zeroizing;

use crate::key::{Key, KeyId};

pub(crate) const NONCE_LEN: usize = 24;
pub(crate) const TAG_LEN: usize = 16;
pub(crate) const MAC_LEN: usize = 16;

/// What a token is for. A token of one kind never opens as another: the keys differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Inline state, or a reference, in a cookie.
    Cookie,
    /// State in a store.
    Record,
    /// The time of the last request, in a cookie.
    Seen,
}

impl Kind {
    fn label(self) -> &'static [u8] {
        match self {
            Self::Cookie => b"cookie",
            Self::Record => b"record",
            Self::Seen => b"seen",
        }
    }
}

/// What all keys of one [`Key`] are expanded from.
pub(crate) struct Root(Hkdf<Sha256>);

impl Root {
    pub(crate) fn new(key: &Key) -> Self {
        Self(Hkdf::new(Some(b"hardtack v1"), key.expose()))
    }

    pub(crate) fn key_id(&self) -> KeyId {
        KeyId::from_bytes(*self.expand(&[b"kid"]))
    }

    pub(crate) fn sealer(&self, app: &str, name: &str, kind: Kind) -> Sealer {
        let keys = self.expand::<64>(&[b"seal", app.as_bytes(), name.as_bytes(), kind.label()]);
        let (ke, km) = keys.split_at(32);
        let cipher = Xaes256Gcm::new_from_slice(ke).expect("Ke has the cipher's 32 bytes");
        Sealer { cipher, mac: Mac::new(km) }
    }

    pub(crate) fn subjects(&self, app: &str) -> Mac {
        Mac::new(self.expand::<32>(&[b"subject", app.as_bytes()]).as_slice())
    }

    fn expand<const N: usize>(&self, info: &[&[u8]]) -> Zeroizing<[u8; N]> {
        let mut okm = Zeroizing::new([0; N]);
        self.0.expand(&pae(info), okm.as_mut_slice()).expect("at most 255 blocks are asked for");
        okm
    }
}

/// The pre-authentication encoding of PASETO: injective, so nothing can be shifted from one field into the next.
fn pae(fields: &[&[u8]]) -> Vec<u8> {
    let mut out = (fields.len() as u64).to_le_bytes().to_vec();
    for field in fields {
        out.extend_from_slice(&(field.len() as u64).to_le_bytes());
        out.extend_from_slice(field);
    }
    out
}

/// What tells one session id from another and says nothing of it. Without a key, so that it outlives keys: an id is 128
/// random bits.
pub(crate) fn fingerprint(id: &[u8; 16]) -> [u8; 8] {
    *Sha256::digest(pae(&[b"affinity", id])).first_chunk().expect("SHA-256 gives 32 bytes")
}

/// The keys of one purpose, scheduled once.
pub(crate) struct Sealer {
    cipher: Xaes256Gcm,
    pub(crate) mac: Mac,
}

impl Sealer {
    /// Encrypts in place and gives the tag.
    pub(crate) fn encrypt(&self, nonce: &[u8; NONCE_LEN], aad: &[u8], buffer: &mut [u8]) -> [u8; TAG_LEN] {
        self.cipher
            .encrypt_inout_detached(nonce.into(), aad, InOutBuf::from(buffer))
            .expect("a session is shorter than the 64 GiB that GCM takes")
            .into()
    }

    /// Decrypts in place; the buffer is untouched where the tag is wrong.
    pub(crate) fn decrypt(
        &self,
        nonce: &[u8; NONCE_LEN],
        aad: &[u8],
        buffer: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> bool {
        self.cipher.decrypt_inout_detached(nonce.into(), aad, InOutBuf::from(buffer), tag.into()).is_ok()
    }
}

/// HMAC-SHA-256 cut to its leftmost 128 bits; both midstates are computed once.
pub(crate) struct Mac(Hmac<Sha256>);

impl Mac {
    fn new(key: &[u8]) -> Self {
        Self(Hmac::new_from_slice(key).expect("HMAC takes keys of any length"))
    }

    pub(crate) fn compute(&self, message: &[u8]) -> [u8; MAC_LEN] {
        let full = self.0.clone().chain_update(message).finalize().into_bytes();
        *full.first_chunk().expect("SHA-256 gives 32 bytes")
    }

    /// In constant time.
    pub(crate) fn verify(&self, message: &[u8], mac: &[u8; MAC_LEN]) -> bool {
        self.0.clone().chain_update(message).verify_truncated_left(mac).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_cannot_be_shifted_into_one_another() {
        assert_ne!(pae(&[b"ab", b"c"]), pae(&[b"a", b"bc"]));
        assert_ne!(pae(&[b"ab", b""]), pae(&[b"ab"]));
        assert_ne!(pae(&[b"", b"ab"]), pae(&[b"ab", b""]));
        assert_eq!(pae(&[b"a"]), b"\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0a");
    }
}
