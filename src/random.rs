//! Where nonces and ids come from: an argument of the pure core, so that tests choose them.

/// A source of bytes that nobody can predict.
///
/// Everything random in a session comes through here: nonces (24 bytes a token), session ids and record ids (16 bytes
/// each). Implement it only for tests; whatever repeats a nonce breaks the encryption.
pub trait Random {
    /// Fills `bytes`.
    ///
    /// # Errors
    ///
    /// If the source failed; nothing of `bytes` may then be used.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoRandom>;
}

/// The operating system's generator, asked anew for each token: safe across `fork` and virtual machine snapshots.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsRandom;

impl Random for OsRandom {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoRandom> {
        getrandom::fill(bytes).map_err(|_| NoRandom)
    }
}

/// The random source failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the random source failed")]
pub struct NoRandom;

/// An array of random bytes.
pub(crate) fn array<const N: usize>(random: &mut impl Random) -> Result<[u8; N], NoRandom> {
    let mut bytes = [0; N];
    random.fill(&mut bytes)?;
    Ok(bytes)
}

/// A source that is asked once for what several steps of one seal take: a system call costs as much as a cipher.
pub(crate) struct Ahead<'a, R> {
    source: &'a mut R,
    /// What was drawn and not yet taken stands between `start` and `end`.
    bytes: [u8; MOST_AHEAD],
    start: usize,
    end: usize,
}

/// A rotation between records: a session id, a record id and three nonces.
const MOST_AHEAD: usize = 2 * 16 + 3 * 24;

impl<'a, R: Random> Ahead<'a, R> {
    pub(crate) fn of(source: &'a mut R) -> Self {
        Self { source, bytes: [0; MOST_AHEAD], start: 0, end: 0 }
    }

    /// Draws what is missing of so many bytes. They are given out in the order in which they were drawn.
    pub(crate) fn draw(&mut self, len: usize) -> Result<(), NoRandom> {
        let kept = self.end - self.start;
        if kept < len {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, kept);
            self.source.fill(&mut self.bytes[kept..len])?;
            self.end = len;
        }
        Ok(())
    }
}

impl<R: Random> Random for Ahead<'_, R> {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoRandom> {
        self.draw(bytes.len())?;
        let taken = self.start..self.start + bytes.len();
        self.start = taken.end;
        bytes.copy_from_slice(&self.bytes[taken]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts up, and its calls.
    #[derive(Default)]
    struct Counting {
        next: u8,
        calls: usize,
    }

    impl Random for Counting {
        fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoRandom> {
            self.calls += 1;
            for byte in bytes {
                *byte = self.next;
                self.next = self.next.wrapping_add(1);
            }
            Ok(())
        }
    }

    #[test]
    fn bytes_come_in_the_order_of_the_source_whatever_was_drawn_ahead() {
        let mut source = Counting::default();
        let mut ahead = Ahead::of(&mut source);
        ahead.draw(40).expect("it does not fail");
        let mut taken = Vec::new();
        taken.extend(array::<16>(&mut ahead).expect("it does not fail"));
        ahead.draw(MOST_AHEAD).expect("it does not fail");
        for _ in 0..5 {
            taken.extend(array::<24>(&mut ahead).expect("it does not fail"));
        }
        assert_eq!(taken, (0..16 + 5 * 24).collect::<Vec<u8>>());
        assert_eq!(source.calls, 3, "twice ahead, and once more for what nobody had foreseen");
    }
}
