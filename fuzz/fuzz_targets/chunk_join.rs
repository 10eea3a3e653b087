#![no_main]
//! Joined tokens are those of a plain model, made of pieces of the input and no longer than it; and a token that is
//! split comes back whatever stands beside it. The input is cookies: `number=value;` ..

use std::collections::BTreeMap;

use hardtack::fuzzing::{join, split, to_text};
use hardtack_fuzz::{digit, numbered};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let values = numbered(data);
    // (generation, count) -> where it first came, index -> piece
    let mut groups = BTreeMap::new();
    for (came, &(number, value)) in values.iter().enumerate() {
        let Some((&[a, b, c, d, i, n, b'.'], piece)) = value.split_first_chunk() else { continue };
        let (Some(index), Some(count)) = (digit(i), digit(n)) else { continue };
        if index == number && count >= 2 && index < count && !piece.is_empty() {
            let (_, pieces) = groups.entry(([a, b, c, d], count)).or_insert((came, BTreeMap::new()));
            pieces.entry(index).or_insert(piece);
        }
    }
    let complete = groups.iter().filter(|((_, count), (_, pieces))| pieces.len() == usize::from(*count));
    let mut model: Vec<_> = complete.map(|((_, count), (came, pieces))| (came, pieces, *count)).collect();
    model.sort_by_key(|(came, ..)| *came);
    let bytes = |pieces: &BTreeMap<u8, &[u8]>| pieces.values().copied().collect::<Vec<_>>().concat();
    let model: Vec<_> = model.into_iter().map(|(_, pieces, count)| (bytes(pieces), count)).collect();
    assert_eq!(join(&values), model);
    assert!(model.iter().map(|(token, _)| token.len()).sum::<usize>() <= data.len());

    let token = to_text(&[&[0; 61], data].concat());
    let count = 2 + data.first().unwrap_or(&0) % 62;
    let pieces = split(&token, count);
    let mut beside: Vec<_> = (0..).zip(pieces.iter().map(String::as_bytes)).chain(values).collect();
    beside[..pieces.len()].rotate_left(pieces.len() / 2);
    assert_eq!(join(&beside)[0], (token.into_bytes(), count));
});
