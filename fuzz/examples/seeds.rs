//! Writes the seeds: real headers, tokens, cookies, segments and sequences of requests.
//!
//! ```text
//! RUSTFLAGS="--cfg fuzzing" cargo run --example seeds          in this folder
//! ```

use std::fs;

use hardtack::fuzzing::{Tokens, deflate, from_text, rewrite, split};
use hardtack_fuzz::header::SEALED;
use hardtack_fuzz::ring;

fn main() {
    cookie_header();
    token_open();
    chunk_join();
    inflate();
    cycle();
}

fn cookie_header() {
    let [whole, chunks] = [&SEALED[0].header, &SEALED[1].header];
    let seed = |name, data: &[u8]| write("cookie_header", name, data);
    seed("whole", format!("theme=dark; {whole}; sid.seen=x").as_bytes());
    seed("chunks", chunks.as_bytes());
    // By number: 0x80 is the whole header and 0x81 the one of two chunks.
    seed("shadowed", b"sid=other; \x80; sid=\xFFsid.1=stale; \x81");
    seed("flipped", b"\x80\xFE\x05\x01; \x81\xFE\x20\x40");
    seed("other_cookies", b"a=\xC3\xA4; \x80;;; =; sid; \xFF\xFFtheme=dark");
}

fn token_open() {
    let tokens = Tokens::cookies(&ring(2, 0));
    let text = &SEALED[0].token;
    let token = from_text(text).expect("a token");
    let plaintext = tokens.open(b"", &token).expect("it was sealed");
    let seed = |name, data: &[u8]| write("token_open", name, &[&[0, 0, 29, 1], data].concat());
    seed("token", &token);
    seed("text", text.as_bytes());
    seed("inline", &plaintext);
    // A reference: the same metadata with another flag, then a record's id and a version.
    let reference = [&[1], &plaintext[1..30], &[9; 16], &[1]].concat();
    assert!(rewrite(&plaintext).is_some() && rewrite(&reference).is_some());
    seed("reference", &reference);
    seed("empty", b"");
}

fn chunk_join() {
    let token = &SEALED[0].token;
    let cookies = |count| {
        let numbered =
            (0..).zip(split(token, count)).map(|(number, value): (u8, _)| format!("{number}={value}"));
        numbered.collect::<Vec<_>>()
    };
    let seed = |name, cookies: Vec<String>| write("chunk_join", name, cookies.join(";").as_bytes());
    seed("two", cookies(2));
    seed("twelve_backwards", cookies(12).into_iter().rev().collect());
    seed("stale_third", [cookies(2), cookies(3).split_off(2)].concat());
    seed("missing", cookies(3).split_off(1));
    seed("claims", vec!["0=AAAAA_.x".into(), "62=AAAA-_.x".into(), "1=AAAABA.x".into()]);
}

fn inflate() {
    let cart = include_bytes!("../../tests/samples/cart-20.json");
    for (name, cap, public) in [
        ("cart", u16::MAX, cart.to_vec()),
        ("cart_over_the_cap", 4096, cart.to_vec()),
        ("zeros", 4096, vec![0; 4096]),
        ("text", 1000, b"tea and hardtack, ".repeat(40)),
    ] {
        let segment = deflate(&public).expect("it pays");
        write("inflate", name, &[&cap.to_be_bytes(), segment.as_slice()].concat());
    }
    write("inflate", "raw_text", &cart[..700]);
}

/// Settings: cookies, budget, keys, flags, first key. Then a step and the seconds until the next.
fn cycle() {
    let seed = |name, data: &[u8]| write("cycle", name, data);
    let name = [&[0][..], b"ada lovelace, countess, first of all programmers", &[9]].concat();
    seed("inline", &[&[0, 40, 0, 0, 0], &name[..], &[3, 9, 11, 2, 7], &[b't'; 60], &[9, 4, 9]].concat());
    // Grow to two chunks and into the store, and back; rotate, then end it there.
    seed(
        "grow_and_shrink",
        &[
            1, 60, 1, 1, 0, 1, 5, 90, 9, 1, 6, 200, 9, 1, 7, 250, 9, 3, 9, 2, 1, 9, 2, 0, 9, 1, 8, 250, 9, 4,
            9,
        ],
    );
    seed("many_chunks", &[62, 255, 3, 2, 0, 1, 1, 255, 9, 1, 2, 255, 9, 1, 3, 255, 9, 11, 1, 2, 1, 9]);
    seed(
        "planted",
        &[&[3, 99, 0, 8, 0, 12, 5][..], &[b'x'; 50], &[12, 63, b'y'], &[0; 49], &name[..]].concat(),
    );
    seed(
        "json",
        &[
            &[0, 60, 2, 4, 1, 8][..],
            b"keys",
            &[200, 9, 9, 3, 1],
            b"some text",
            &[9, 10, 200],
            &[b's'; 20],
            &[9],
        ]
        .concat(),
    );
}

fn write(target: &str, name: &str, data: &[u8]) {
    let folder = format!("{}/seeds/{target}", env!("CARGO_MANIFEST_DIR"));
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(format!("{folder}/{name}"), data).expect("a file");
}
