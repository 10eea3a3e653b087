//! What the targets share: fixed keys, fixed randomness, fixed time, and how an input is read.

pub mod cycle;
pub mod header;

use hardtack::{Key, KeyRing, NoRandom, Random};
use time::{Duration, OffsetDateTime};

/// The moment at which every target begins.
pub const START: OffsetDateTime = OffsetDateTime::UNIX_EPOCH.saturating_add(Duration::seconds(1_760_000_000));

/// SplitMix64: the same numbers for the same seed, and never one nonce twice.
pub struct Seeded(pub u64);

impl Seeded {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

impl Random for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoRandom> {
        bytes
            .chunks_mut(8)
            .for_each(|chunk| chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]));
        Ok(())
    }
}

/// A ring of so many of the same four keys, the one with number `first` in front.
pub fn ring(keys: usize, first: usize) -> KeyRing {
    let mut random = Seeded(7);
    let mut keys: Vec<_> =
        (0..keys).map(|_| Key::generate(&mut random).expect("seeded bytes do not fail")).collect();
    let first = first % keys.len();
    keys.rotate_left(first);
    KeyRing::new(keys).expect("seeded keys differ")
}

/// The number that a base64url digit stands for.
pub fn digit(character: u8) -> Option<u8> {
    match character {
        b'A'..=b'Z' => Some(character - b'A'),
        b'a'..=b'z' => Some(character - b'a' + 26),
        b'0'..=b'9' => Some(character - b'0' + 52),
        b'-' => Some(62),
        b'_' => Some(63),
        _ => None,
    }
}

/// The cookies of `number=value;` ..
pub fn numbered(data: &[u8]) -> Vec<(u8, &[u8])> {
    let number = |pair: &'_ [u8]| {
        let end = pair.iter().position(|&byte| byte == b'=')?;
        Some((str::from_utf8(&pair[..end]).ok()?.parse().ok()?, end + 1))
    };
    let pairs = data.split(|&byte| byte == b';');
    pairs.filter_map(|pair| number(pair).map(|(number, start)| (number, &pair[start..]))).collect()
}

/// Reads settings and steps off the input, zeros when it has run out.
pub struct Input<'a>(pub &'a [u8]);

impl Input<'_> {
    pub fn byte(&mut self) -> u8 {
        let (byte, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *byte
    }

    /// Up to so many bytes, as text.
    pub fn text(&mut self, most: usize) -> String {
        let (text, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        String::from_utf8_lossy(text).into_owned()
    }
}
