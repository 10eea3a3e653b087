//! A public segment, compressed where that pays, and back within a bound.
//!
//! ```text
//! varint frame length || zstd frame || zeros to a multiple of 32
//! ```

use std::cell::RefCell;

use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe;

use crate::error::Reason;
use crate::varint;
use crate::wiped::Wiped;

/// Shorter segments are left as they are: a frame's own overhead eats what it saves.
pub(crate) const WORTH_TRYING: usize = 512;

/// Lengths tell something about content; in steps of this many octets they tell less.
const PADDING: usize = 32;

/// On a few kilobytes, higher levels gain a percent or two and take longer.
const LEVEL: i32 = 1;

/// The compressed segment, if it is shorter than `public`.
pub(crate) fn deflate(public: &[u8]) -> Option<Wiped> {
    let mut frame = Wiped::with_capacity(zstd_safe::compress_bound(public.len()));
    COMPRESSOR.with_borrow_mut(|slot| {
        let compressor = match slot {
            Some(compressor) => compressor,
            None => slot.insert(Compressor::new(LEVEL).ok()?),
        };
        compressor.compress_to_buffer(public, &mut *frame).ok()
    })?;
    let mut segment = Wiped::with_capacity(10 + frame.len() + PADDING);
    varint::write(frame.len() as u64, &mut segment);
    segment.extend_from_slice(&frame);
    let padded = segment.len().next_multiple_of(PADDING);
    segment.resize(padded, 0);
    (segment.len() < public.len()).then_some(segment)
}

/// What [`deflate`] was given. A size above `cap` is refused before anything is allocated for it.
pub(crate) fn inflate(segment: &[u8], cap: usize) -> Result<Wiped, Reason> {
    let frame = frame(segment).ok_or(Reason::Payload)?;
    let size = match zstd_safe::get_frame_content_size(frame) {
        Ok(Some(size)) => usize::try_from(size).ok().filter(|&size| size <= cap).ok_or(Reason::TooLarge)?,
        // Without its size a frame is not one of ours.
        _ => return Err(Reason::Payload),
    };
    let mut public = Wiped::with_capacity(size);
    let inflated = DECOMPRESSOR.with_borrow_mut(|slot| {
        let decompressor = match slot {
            Some(decompressor) => decompressor,
            None => slot.insert(Decompressor::new().ok()?),
        };
        decompressor.decompress_to_buffer(frame, &mut *public).ok()
    });
    if inflated == Some(size) { Ok(public) } else { Err(Reason::Payload) }
}

/// The one frame of a segment, if the segment is built as it should be.
fn frame(segment: &[u8]) -> Option<&[u8]> {
    let mut rest = segment;
    let length = usize::try_from(varint::read(&mut rest)?).ok()?;
    let (frame, padding) = rest.split_at_checked(length)?;
    // A skippable frame would inflate to nothing, and is none of ours.
    let sound = frame.starts_with(&zstd_safe::MAGICNUMBER.to_le_bytes())
        && segment.len().is_multiple_of(PADDING)
        && padding.len() < PADDING
        && padding.iter().all(|&byte| byte == 0)
        && zstd_safe::find_frame_compressed_size(frame) == Ok(length);
    sound.then_some(frame)
}

// Contexts hold some hundred kilobytes of tables; making them costs more than using them.
thread_local! {
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(octets: usize) -> Vec<u8> {
        b"Merino Sweater (size S), /products/merino-7919; ".iter().copied().cycle().take(octets).collect()
    }

    #[test]
    fn what_was_deflated_comes_back() {
        for octets in [128, 512, 4096, 65_536] {
            let public = text(octets);
            let segment = deflate(&public).expect("text of repetitions is compressed");
            assert_eq!(segment.len() % PADDING, 0);
            assert!(inflate(&segment, octets).is_ok_and(|inflated| **inflated == *public));
        }
    }

    #[test]
    fn what_does_not_pay_is_left_alone() {
        assert!(deflate(b"").is_none());
        assert!(deflate(b"abcdefghijklmnopqrstuvwxyz").is_none());
    }

    #[test]
    fn a_size_above_the_cap_is_refused_whatever_the_frame_holds() {
        let segment = deflate(&text(65_537)).expect("text of repetitions is compressed");
        assert_eq!(inflate(&segment, 65_536).err(), Some(Reason::TooLarge));
        // A frame that claims 16 EiB and holds nothing.
        let mut bomb = vec![0; PADDING];
        bomb[..14].copy_from_slice(b"\x0d\x28\xb5\x2f\xfd\xe0\xff\xff\xff\xff\xff\xff\xff\x7f");
        assert!(inflate(&bomb, 65_536).is_err());
    }

    #[test]
    fn every_octet_of_the_padding_counts() {
        let segment = deflate(&text(4096)).expect("text of repetitions is compressed");
        let mut rest = segment.as_slice();
        let frame = usize::try_from(varint::read(&mut rest).expect("a length")).expect("a small one");
        let end = segment.len() - rest.len() + frame;
        assert!(end < segment.len(), "this text leaves room for padding");
        for index in end..segment.len() {
            let mut damaged = segment.to_vec();
            damaged[index] = 1;
            assert_eq!(inflate(&damaged, 4096).err(), Some(Reason::Payload));
        }
        let longer = [segment.as_slice(), &[0; PADDING]].concat();
        assert_eq!(inflate(&longer, 4096).err(), Some(Reason::Payload));
        assert_eq!(inflate(&segment[..segment.len() - 1], 4096).err(), Some(Reason::Payload));
    }
}
