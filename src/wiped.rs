//! A buffer that held plaintext and is zeroed when it is dropped.

use std::ops::{Deref, DerefMut};

use zeroize::{Zeroize, ZeroizeOnDrop, optimization_barrier};

/// Bytes that are zeroed on drop, spare capacity included.
///
/// `zeroize::Zeroizing<Vec<u8>>` writes byte by byte, which costs more than the encryption of what it held; this is
/// the same promise at the speed of `memset`. A `Vec` that grows by itself leaves what it held behind, so whoever appends
/// calls [`reserve`](Self::reserve) first.
#[derive(Default, PartialEq, Eq)]
pub(crate) struct Wiped(Vec<u8>);

impl Wiped {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// Makes room for so many more bytes. If that takes another buffer, the old one is wiped.
    #[inline]
    pub(crate) fn reserve(&mut self, additional: usize) {
        if self.0.capacity() - self.0.len() < additional {
            self.grow(additional);
        }
    }

    #[cold]
    fn grow(&mut self, additional: usize) {
        let mut larger = Self::with_capacity((self.0.len() + additional).max(2 * self.0.capacity()));
        larger.0.extend_from_slice(&self.0);
        *self = larger;
    }
}

impl Zeroize for Wiped {
    fn zeroize(&mut self) {
        self.0.clear();
        self.0.resize(self.0.capacity(), 0);
        optimization_barrier(self.0.as_slice());
        self.0.clear();
    }
}

impl ZeroizeOnDrop for Wiped {}

impl Drop for Wiped {
    fn drop(&mut self) {
        self.zeroize();
    }
}

impl From<Vec<u8>> for Wiped {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Deref for Wiped {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Wiped {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_grows_keeps_what_it_holds_and_has_room_for_more() {
        let mut wiped = Wiped::default();
        for len in 0..300 {
            wiped.reserve(len);
            assert!(wiped.capacity() >= wiped.len() + len);
            wiped.extend(std::iter::repeat_n(b's', len));
        }
        assert!(wiped.len() == 299 * 150 && wiped.iter().all(|&byte| byte == b's'));
    }

    #[test]
    fn zeroizing_reaches_the_spare_capacity() {
        let mut wiped = Wiped::with_capacity(64);
        wiped.extend_from_slice(b"secret");
        wiped.truncate(2);
        wiped.zeroize();
        assert!(wiped.is_empty());
        let spare = wiped.capacity();
        // `resize` would only write from the old length on, so what it does not write must be zero already.
        wiped.resize(spare, 0);
        assert!(wiped.iter().all(|&byte| byte == 0));
    }
}
