//! Unsigned LEB128 of at most 64 bits, in its shortest form only.

/// Appends `value`.
pub(crate) fn write(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        #[expect(clippy::cast_possible_truncation, reason = "the low seven bits are meant")]
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    #[expect(clippy::cast_possible_truncation, reason = "what is left is below 128")]
    out.push(value as u8);
}

/// Takes a number off the front of `bytes`. `None` if it is cut off, over 64 bits, or longer than it need be.
#[inline]
pub(crate) fn read(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(MAX_LEN).enumerate() {
        let low = u64::from(byte & 0x7f);
        if index == MAX_LEN - 1 && low > 1 {
            return None;
        }
        value |= low << (7 * index);
        if byte < 0x80 {
            *bytes = &bytes[index + 1..];
            return (byte != 0 || index == 0).then_some(value);
        }
    }
    None
}

/// How many octets `value` takes.
pub(crate) const fn len(value: u64) -> usize {
    let bits = 64 - value.leading_zeros() as usize;
    if bits == 0 { 1 } else { bits.div_ceil(7) }
}

/// The most octets that a number takes.
const MAX_LEN: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(mut bytes: &[u8]) {
        assert_eq!(read(&mut bytes), None);
    }

    #[test]
    fn every_length_comes_back_and_is_foretold() {
        for shift in 0..64 {
            for value in [(1_u64 << shift) - 1, 1 << shift, u64::MAX >> shift] {
                let mut bytes = Vec::new();
                write(value, &mut bytes);
                assert_eq!(bytes.len(), len(value));
                bytes.push(0xff);
                let mut rest = bytes.as_slice();
                assert_eq!(read(&mut rest), Some(value));
                assert_eq!(rest, [0xff]);
            }
        }
    }

    #[test]
    fn what_is_cut_off_too_long_or_too_large_is_refused() {
        refused(&[]);
        refused(&[0x80]);
        refused(&[0x80, 0x00]);
        refused(&[0xff, 0x80, 0x00]);
        refused(&[0xff; 10]);
        refused(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]);
        refused(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x81, 0x00]);
    }
}
