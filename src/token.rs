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

use std::borrow::Cow;
use std::ops::Range;

use base64_simd::URL_SAFE_NO_PAD;

use crate::aead::{Kind, MAC_LEN, NONCE_LEN, Root, Sealer, TAG_LEN};
use crate::error::Reason;
use crate::key::{Key, KeyId};
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
    keys: Vec<TokenKey>,
}

struct TokenKey {
    id: KeyId,
    /// The characters that every token under this key begins with: version and all but four bits of the kid.
    start: [u8; START],
    sealer: Sealer,
}

const START: usize = 6;

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
        let bind = |(id, key): (KeyId, &Key)| {
            let text = to_text(&[&[VERSION], id.as_bytes().as_slice()].concat());
            let start = *text.as_bytes().first_chunk().expect("five octets take seven characters");
            TokenKey { id, start, sealer: Root::new(key).sealer(app, name, kind) }
        };
        Self { keys: ring.keys().map(bind).collect() }
    }

    pub(crate) fn key_id(&self, index: usize) -> KeyId {
        self.keys[index].id
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
        let TokenKey { id, sealer, .. } = &self.keys[index];
        let mut token = Vec::with_capacity(OVERHEAD + len);
        token.push(VERSION);
        token.extend_from_slice(id.as_bytes());
        token.extend_from_slice(nonce);
        write(&mut token);

        let (header, plaintext) = token.split_at_mut(HEADER);
        let tag = sealer.encrypt(nonce, &associated(header, bound), plaintext);
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
        let TokenKey { id, sealer, .. } = &self.keys[index];
        if !sealer.mac.verify(&committed(header, tag), mac) {
            return Err(Reason::Forged);
        }
        let nonce = header.last_chunk().expect("the nonce ends the header");
        if !sealer.decrypt(nonce, &associated(header, bound), ciphertext, tag) {
            // The MAC holds, but does not cover A. In a cookie's token, which has none, a changed ciphertext is left.
            return Err(if bound.is_empty() { Reason::Forged } else { Reason::OtherRecord });
        }
        let range = HEADER..HEADER + ciphertext.len();
        Ok(Plain { bytes: Wiped::from(token), range, key: *id })
    }

    /// Whether a token's text names our version and a key that we know: all that junk costs.
    pub(crate) fn peek(&self, text: impl AsRef<[u8]>) -> Result<(), Reason> {
        let start = text.as_ref().first_chunk::<8>().ok_or(Reason::Malformed)?;
        if self.keys.iter().any(|key| start.starts_with(&key.start)) {
            return Ok(());
        }
        // Only junk pays for the decoding, which tells what kind of junk it is.
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
        self.keys.iter().position(|key| key.id.as_bytes() == id).ok_or(Reason::UnknownKey)
    }
}

/// What the cipher authenticates beside the plaintext: version, kid, and A, which a cookie's token does not have.
fn associated<'a>(header: &'a [u8], bound: &[u8]) -> Cow<'a, [u8]> {
    let prefix = &header[..PREFIX];
    if bound.is_empty() { Cow::Borrowed(prefix) } else { Cow::Owned([prefix, bound].concat()) }
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
pub(crate) fn from_text(text: impl AsRef<[u8]>) -> Result<Vec<u8>, Reason> {
    if text.as_ref().len() < text_len(OVERHEAD) {
        return Err(Reason::Malformed);
    }
    URL_SAFE_NO_PAD.decode_to_vec(text).map_err(|_| Reason::Malformed)
}

/// The characters of a token's text.
pub(crate) const fn text_len(octets: usize) -> usize {
    (octets * 4).div_ceil(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: [u8; NONCE_LEN] = [7; NONCE_LEN];
    const LENGTHS: [usize; 6] = [0, 1, 15, 16, 17, 100];

    fn ring() -> KeyRing {
        KeyRing::new([Key::unchecked([1; 32]), Key::unchecked([2; 32])]).expect("two keys")
    }

    fn tokens(kind: Kind) -> Tokens {
        Tokens::bind(&ring(), "shop", "__Host-session", kind)
    }

    fn sealed(tokens: &Tokens, bound: &[u8], len: usize) -> Vec<u8> {
        tokens.seal(0, bound, &NONCE, len, |out| out.resize(out.len() + len, b'p'))
    }

    fn opened(tokens: &Tokens, bound: &[u8], token: &[u8]) -> Result<Vec<u8>, Reason> {
        tokens.open(bound, token.to_vec(), |_| true).map(|plain| plain.payload().to_vec())
    }

    /// The token with a bit of it changed, for each of its bits.
    fn flipped(token: &[u8]) -> impl Iterator<Item = (usize, Vec<u8>)> {
        (0..token.len() * 8).map(|bit| {
            let mut flipped = token.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            (bit, flipped)
        })
    }

    #[test]
    fn a_token_is_61_bytes_longer_than_what_is_in_it_and_opens_to_that() {
        let tokens = tokens(Kind::Cookie);
        for len in LENGTHS {
            let token = sealed(&tokens, b"", len);
            assert_eq!(token.len(), len + 61);
            assert_eq!(opened(&tokens, b"", &token), Ok(vec![b'p'; len]));
            assert_eq!(to_text(&token).len(), text_len(token.len()));
            assert_eq!(tokens.peek(to_text(&token)), Ok(()));
            assert_eq!(from_text(to_text(&token)), Ok(token));
        }
    }

    #[test]
    fn a_token_with_any_bit_flipped_is_refused() {
        let tokens = tokens(Kind::Cookie);
        for len in LENGTHS {
            for (bit, token) in flipped(&sealed(&tokens, b"", len)) {
                let expected = match bit / 8 {
                    0 => Reason::Version,
                    1..5 => Reason::UnknownKey,
                    _ => Reason::Forged,
                };
                assert_eq!(opened(&tokens, b"", &token), Err(expected), "bit {bit} of {len} octets sealed");
            }
        }
    }

    #[test]
    fn a_token_of_any_other_length_is_refused() {
        let tokens = tokens(Kind::Cookie);
        let token = sealed(&tokens, b"", 20);
        for end in 0..token.len() {
            let reason = if end < OVERHEAD { Reason::Malformed } else { Reason::Forged };
            assert_eq!(opened(&tokens, b"", &token[..end]), Err(reason));
        }
        assert_eq!(opened(&tokens, b"", &[token.as_slice(), &[0]].concat()), Err(Reason::Forged));
    }

    #[test]
    fn a_token_opens_for_its_own_purpose_only() {
        let ring = ring();
        let bind = |app, name, kind| Tokens::bind(&ring, app, name, kind);
        let token = sealed(&bind("shop", "sid", Kind::Record), b"id 1", 20);
        assert!(opened(&bind("shop", "sid", Kind::Record), b"id 1", &token).is_ok());
        for (app, name, kind, bound) in [
            ("shop2", "sid", Kind::Record, "id 1"),
            ("", "sid", Kind::Record, "id 1"),
            ("sho", "psid", Kind::Record, "id 1"),
            ("shops", "id", Kind::Record, "id 1"),
            ("shop", "sid2", Kind::Record, "id 1"),
            ("shop", "sid", Kind::Cookie, "id 1"),
            ("shop", "sid", Kind::Seen, "id 1"),
            ("shop", "sid", Kind::Record, "id 2"),
            ("shop", "sid", Kind::Record, ""),
        ] {
            let opened = opened(&bind(app, name, kind), bound.as_bytes(), &token);
            let reason = if bound == "id 2" { Reason::OtherRecord } else { Reason::Forged };
            assert_eq!(opened, Err(reason), "{app} {name} {kind:?} {bound}");
        }
    }

    #[test]
    fn a_token_opens_under_the_key_that_it_names_if_that_may_open() {
        let tokens = tokens(Kind::Cookie);
        let mut token = tokens.seal(1, b"", &NONCE, 0, |_| ());
        let plain = tokens.open(b"", token.clone(), |index| index == 1).expect("a token of the second key");
        assert_eq!(plain.key, tokens.key_id(1));
        assert_eq!(tokens.open(b"", token.clone(), |_| false).err(), Some(Reason::UnknownKey));
        token[1..5].copy_from_slice(tokens.key_id(0).as_bytes());
        assert_eq!(opened(&tokens, b"", &token), Err(Reason::Forged));
    }

    #[test]
    fn a_mac_over_other_bytes_is_refused_though_its_key_is_right() {
        let tokens = tokens(Kind::Cookie);
        let token = sealed(&tokens, b"", 20);
        let (body, mac) = token.split_at(token.len() - MAC_LEN);
        let (ciphertext, tag) = (&body[HEADER..body.len() - TAG_LEN], &body[body.len() - TAG_LEN..]);
        let with_mac_over = |message: &[u8]| [body, &tokens.keys[0].sealer.mac.compute(message)].concat();
        assert_eq!(with_mac_over(&[&body[..HEADER], tag].concat()), token);
        for message in [
            b"".as_slice(),
            body,
            tag,
            &body[..HEADER],
            &[&body[1..HEADER], tag].concat(),
            &[&body[..PREFIX], tag].concat(),
            &[&body[..HEADER], ciphertext].concat(),
            &[tag, &body[..HEADER]].concat(),
            &[&body[..HEADER], tag, mac].concat(),
        ] {
            assert_eq!(opened(&tokens, b"", &with_mac_over(message)), Err(Reason::Forged));
        }
    }

    #[test]
    fn a_right_mac_does_not_stand_in_for_a_right_tag() {
        let tokens = tokens(Kind::Cookie);
        for (bit, mut token) in flipped(&sealed(&tokens, b"", 20)) {
            if bit / 8 >= PREFIX && bit / 8 < token.len() - MAC_LEN {
                let end = token.len() - MAC_LEN;
                let message = [&token[..HEADER], &token[end - TAG_LEN..end]].concat();
                let mac = tokens.keys[0].sealer.mac.compute(&message);
                token[end..].copy_from_slice(&mac);
                assert_eq!(opened(&tokens, b"", &token), Err(Reason::Forged), "bit {bit}");
            }
        }
    }

    #[test]
    fn each_token_has_one_text() {
        let tokens = tokens(Kind::Cookie);
        for len in 0..3 {
            let text = to_text(&sealed(&tokens, b"", len));
            let spare = text[..text.len() - 1].to_owned() + "_";
            let standard = text.replace('-', "+").replace('_', "/");
            let mut others =
                vec![format!("{text}="), format!("{text}=="), format!(" {text}"), format!("{text}\n")];
            others.extend((len < 2).then_some(spare));
            others.extend((standard != text).then_some(standard));
            for other in others {
                assert_eq!(from_text(&other), Err(Reason::Malformed), "{other}");
            }
        }
        assert_eq!(from_text("A".repeat(81)), Err(Reason::Malformed));
        assert_eq!(from_text("A".repeat(85)), Err(Reason::Malformed));
        assert_eq!(from_text("A".repeat(82)).map(|token| token.len()), Ok(61));
    }

    #[test]
    fn junk_is_turned_away_by_its_first_eight_characters() {
        let tokens = tokens(Kind::Cookie);
        for text in ["", "AAAAAAA", "AAAA AAAA", "\u{1f36a}\u{1f36a}", "AQ=="] {
            assert_eq!(tokens.peek(text), Err(Reason::Malformed), "{text}");
        }
        assert_eq!(tokens.peek("AAAAAAAA"), Err(Reason::Version));
        assert_eq!(tokens.peek("AQAAAAAA"), Err(Reason::UnknownKey));
    }
}
