//! The inner steps that the fuzz targets call, in builds for fuzzing only.

use crate::aead::{Kind, NONCE_LEN};
use crate::chunk::{self, Piece};
use crate::compress;
use crate::payload;
use crate::ring::KeyRing;
use crate::token;

/// The tokens of one purpose: those of the cookie `sid` of the application `fuzz`.
pub struct Tokens(token::Tokens);

impl Tokens {
    /// The tokens of kind `cookie`.
    pub fn cookies(ring: &KeyRing) -> Self {
        Self(token::Tokens::bind(ring, "fuzz", "sid", Kind::Cookie))
    }

    /// The tokens of kind `record`.
    pub fn records(ring: &KeyRing) -> Self {
        Self(token::Tokens::bind(ring, "fuzz", "sid", Kind::Record))
    }

    /// A token under the ring's key `index`.
    pub fn seal(&self, index: usize, bound: &[u8], nonce: &[u8; NONCE_LEN], plaintext: &[u8]) -> Vec<u8> {
        self.0.seal(index, bound, nonce, plaintext.len(), |out| out.extend_from_slice(plaintext))
    }

    /// What was sealed, if the token opens.
    pub fn open(&self, bound: &[u8], token: &[u8]) -> Option<Vec<u8>> {
        let plain = self.0.open(bound, token.to_vec(), |_| true).ok()?;
        Some(plain.payload().to_vec())
    }

    /// The same for the token's text.
    pub fn open_text(&self, bound: &[u8], text: &str) -> Option<Vec<u8>> {
        self.0.peek(text).ok()?;
        self.open(bound, &token::from_text(text).ok()?)
    }
}

/// A token's text.
pub fn to_text(token: &[u8]) -> String {
    token::to_text(token)
}

/// The token of a text, if it is one in form.
pub fn from_text(text: &str) -> Option<Vec<u8>> {
    token::from_text(text).ok()
}

/// What is written for the fields of a plaintext, if it is one.
pub fn rewrite(plaintext: &[u8]) -> Option<Vec<u8>> {
    let (metadata, body) = payload::read(plaintext)?;
    let body = body.map(|range| &plaintext[range.clone()]);
    let mut written = Vec::new();
    payload::write(&metadata, &body, &mut written);
    assert_eq!(written.len(), payload::len(&metadata, &body));
    Some(written)
}

/// The values of `count` cookies that carry a token.
pub fn split(token: &str, count: u8) -> Vec<String> {
    chunk::split(token, count).collect()
}

/// The tokens that the values of numbered cookies make, and in how many cookies each came.
pub fn join(values: &[(u8, &[u8])]) -> Vec<(Vec<u8>, u8)> {
    let pieces: Vec<_> = values.iter().filter_map(|&(number, value)| Piece::parse(number, value)).collect();
    chunk::join(&pieces).collect()
}

/// A public segment, compressed if that pays.
pub fn deflate(public: &[u8]) -> Option<Vec<u8>> {
    compress::deflate(public).map(|segment| segment.to_vec())
}

/// What a compressed segment holds, in the buffer that was allocated for it.
pub fn inflate(segment: &[u8], cap: usize) -> Option<Vec<u8>> {
    compress::inflate(segment, cap).ok().map(|mut public| std::mem::take(&mut *public))
}
