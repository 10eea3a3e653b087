//! A token over several cookies, and back.
//!
//! Each value is `gggg i n . piece`, without the spaces: the token's generation (its last four characters), the
//! piece's index and the number of pieces as one base64url digit each, and a dot, which no whole token has.

use crate::cookie::MAX_PARTS;

/// What stands before a piece, in characters.
const HEADER: usize = 7;

/// The characters of one of the `count` values that carry a token of `len` characters.
pub(crate) fn value_len(len: usize, index: u8, count: u8) -> usize {
    HEADER + cut(len, index + 1, count) - cut(len, index, count)
}

/// Where piece `index` starts: as evenly as may be.
fn cut(len: usize, index: u8, count: u8) -> usize {
    len * usize::from(index) / usize::from(count)
}

/// The values of `count` cookies that carry the token between them.
pub(crate) fn split(token: &str, count: u8) -> impl Iterator<Item = String> {
    let generation = &token[token.len() - GENERATION..];
    (0..count).map(move |index| {
        let piece = &token[cut(token.len(), index, count)..cut(token.len(), index + 1, count)];
        let mut value = String::with_capacity(HEADER + piece.len());
        value.push_str(generation);
        value.push(DIGITS[usize::from(index)].into());
        value.push(DIGITS[usize::from(count)].into());
        value.push('.');
        value.push_str(piece);
        value
    })
}

/// One piece as a request carried it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece<'h> {
    generation: &'h [u8],
    count: u8,
    index: u8,
    text: &'h [u8],
}

impl<'h> Piece<'h> {
    /// Reads the value of the cookie that has this number. Its header must say the same number.
    pub(crate) fn parse(number: u8, value: &'h [u8]) -> Option<Self> {
        let (header, text) = value.split_at_checked(HEADER)?;
        let (generation, rest) = header.split_at_checked(GENERATION)?;
        let &[index, count, b'.'] = rest else { return None };
        let (index, count) = (digit(index)?, digit(count)?);
        let sound = index == number && (2..=MAX_PARTS).contains(&count) && index < count && !text.is_empty();
        sound.then_some(Self { generation, count, index, text })
    }

    /// What pieces of one token have in common.
    fn group(&self) -> (&'h [u8], u8) {
        (self.generation, self.count)
    }
}

/// Every token that the pieces make where a generation is complete in itself, with their number: in the order in which
/// the generations first came. Of two pieces with one index the first counts.
///
/// What this allocates is bounded by what was received, and so is its time: a client chooses neither.
pub(crate) fn join(pieces: &[Piece<'_>]) -> impl Iterator<Item = (Vec<u8>, u8)> {
    let mut sorted: Vec<(usize, Piece<'_>)> = pieces.iter().copied().enumerate().collect();
    // Not the stable sort, which allocates: what came first is part of the key.
    sorted.sort_unstable_by_key(|&(came, piece)| (piece.group(), piece.index, came));
    sorted.dedup_by_key(|(_, piece)| (piece.group(), piece.index));
    let mut tokens: Vec<(usize, Vec<u8>, u8)> = sorted
        .chunk_by(|(_, a), (_, b)| a.group() == b.group())
        .filter(|group| group.len() == usize::from(group[0].1.count))
        .map(|group| {
            let came = group.iter().map(|&(came, _)| came).min().expect("a group has pieces");
            let texts: Vec<&[u8]> = group.iter().map(|(_, piece)| piece.text).collect();
            (came, texts.concat(), group[0].1.count)
        })
        .collect();
    tokens.sort_by_key(|&(came, ..)| came);
    tokens.into_iter().map(|(_, token, count)| (token, count))
}

fn digit(character: u8) -> Option<u8> {
    let index = DIGITS.iter().position(|&digit| digit == character)?;
    u8::try_from(index).ok()
}

/// The base64url alphabet (RFC 4648, section 5).
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The last characters of a token, which are the end of its MAC: they differ from seal to seal.
const GENERATION: usize = 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOKEN: &str = "AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMk";

    fn joined(values: &[(u8, &str)]) -> Vec<String> {
        let pieces: Vec<_> =
            values.iter().filter_map(|&(number, value)| Piece::parse(number, value.as_bytes())).collect();
        join(&pieces).map(|(token, _)| String::from_utf8(token).expect("text was cut")).collect()
    }

    fn values(token: &str, count: u8) -> Vec<(u8, String)> {
        (0..).zip(split(token, count)).collect()
    }

    fn borrowed(values: &[(u8, String)]) -> Vec<(u8, &str)> {
        values.iter().map(|(number, value)| (*number, value.as_str())).collect()
    }

    #[test]
    fn a_token_comes_back_from_any_number_of_cookies_in_any_order() {
        for count in 2..=u8::try_from(TOKEN.len()).expect("a short token") {
            let values = values(TOKEN, count);
            let mut parts = borrowed(&values);
            assert!(parts.iter().all(|&(index, value)| value.len() == value_len(TOKEN.len(), index, count)));
            parts.reverse();
            assert_eq!(joined(&parts), [TOKEN]);
        }
    }

    #[test]
    fn indices_are_numbers_not_text() {
        let values = values(TOKEN, 12);
        let mut parts = borrowed(&values);
        parts.sort_by_key(|(number, _)| number.to_string());
        assert_eq!(joined(&parts), [TOKEN]);
    }

    #[test]
    fn an_incomplete_generation_gives_nothing() {
        let values = values(TOKEN, 3);
        for missing in 0..3 {
            let mut parts = borrowed(&values);
            parts.remove(missing);
            assert!(joined(&parts).is_empty());
        }
    }

    #[test]
    fn a_stale_third_chunk_does_not_join_two_new_ones() {
        let old = values("oldAQIDBAUGBwgJCgsMDQ4P", 3);
        let new = values(TOKEN, 2);
        let parts = [borrowed(&new), borrowed(&old)[2..].to_vec()].concat();
        assert_eq!(joined(&parts), [TOKEN]);
    }

    #[test]
    fn generations_that_are_both_complete_are_both_tried() {
        let other = "oldAQIDBAUGBwgJCgsMDQ4P";
        let (a, b) = (values(TOKEN, 2), values(other, 2));
        let mut tokens = joined(&[borrowed(&a), borrowed(&b)].concat());
        tokens.sort();
        assert_eq!(tokens, [TOKEN, other]);
    }

    #[test]
    fn of_two_pieces_with_one_index_the_first_counts() {
        let values = values(TOKEN, 2);
        let later = format!("{}AC.later", &TOKEN[TOKEN.len() - 4..]);
        let parts = [borrowed(&values), vec![(0, later.as_str())]].concat();
        assert_eq!(joined(&parts), [TOKEN]);
    }

    #[test]
    fn a_count_that_a_client_claims_costs_nothing() {
        assert!(joined(&[(0, "AAAAA_.x")]).is_empty());
    }

    #[test]
    fn headers_that_do_not_follow_the_format_are_not_pieces() {
        for (number, value) in [
            (0, ""),
            (0, "AAAAAC"),
            (0, "AAAAAC."),
            (0, "AAAAACx"),
            (1, "AAAAAC.x"),
            (0, "AAAABC.x"),
            (0, "AAAAAA.x"),
            (0, "AAAAAB.x"),
            (2, "AAAACC.x"),
            (0, "AAAA=C.x"),
            (0, "AAA\u{e4}AC.x"),
            (0, "\u{1f36a}\u{1f36a}\u{1f36a}"),
        ] {
            assert_eq!(Piece::parse(number, value.as_bytes()), None, "{value:?}");
        }
    }

    #[test]
    fn tokens_come_in_the_order_of_their_first_pieces() {
        let other = "oldAQIDBAUGBwgJCgsMDQ4P";
        let (a, b) = (values(TOKEN, 2), values(other, 3));
        let (a, b) = (borrowed(&a), borrowed(&b));
        assert_eq!(joined(&[b[2], a[0], a[1], b[0], b[1]]), [other, TOKEN]);
        assert_eq!(joined(&[a[1], b[0], b[1], b[2], a[0]]), [TOKEN, other]);
    }

    #[test]
    fn counts_of_one_generation_are_not_mixed() {
        let (two, three) = (values(TOKEN, 2), values(TOKEN, 3));
        assert!(joined(&[borrowed(&two)[0], borrowed(&three)[1], borrowed(&three)[2]]).is_empty());
        assert_eq!(joined(&[borrowed(&two), borrowed(&three)].concat()), [TOKEN, TOKEN]);
    }

    #[test]
    fn a_token_is_cut_evenly_and_never_into_an_empty_piece() {
        for len in [63, 64, 100, 5000] {
            let token = "t".repeat(len);
            for count in 2..=MAX_PARTS {
                let pieces: Vec<_> = split(&token, count).map(|value| value.len() - HEADER).collect();
                let (least, most) = (pieces.iter().min().copied(), pieces.iter().max().copied());
                assert!(least >= Some(1) && most <= least.map(|least| least + 1), "{pieces:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_what_is_joined_is_no_longer_than_that(
            cookies in prop::collection::vec((0..MAX_PARTS, "[AB]{4}[A-D][A-D]\\.[a-z]{0,3}|.{0,9}"), 0..40),
        ) {
            let cookies: Vec<_> = cookies.iter().map(|(number, value)| (*number, value.as_str())).collect();
            let sent: usize = cookies.iter().map(|(_, value)| value.len()).sum();
            prop_assert!(joined(&cookies).iter().map(String::len).sum::<usize>() <= sent);
        }
    }
}
