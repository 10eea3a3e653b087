//! A buffer that held plaintext and is zeroed when it is dropped.

use std::ops::{Deref, DerefMut};

use zeroize::{Zeroize, ZeroizeOnDrop, optimization_barrier};

/// Bytes that are zeroed on drop, spare capacity included.
///
/// `zeroize::Zeroizing<Vec<u8>>` writes byte by byte, which costs more than the encryption of what it held; this is
/// the same promise at the speed of `memset`. What a reallocation left behind is not reached, so callers reserve first.
#[derive(Default, PartialEq, Eq)]
pub(crate) struct Wiped(Vec<u8>);

impl Wiped {
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
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
