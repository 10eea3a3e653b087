//! Authentic `Cookie` headers, and how an input takes them apart.

use std::sync::LazyLock;

use hardtack::{Budget, Outgoing, SessionCookie};
use time::Duration;

use crate::{Input, START, Seeded, ring};

/// Sessions that are a text in one or two cookies.
pub static COOKIE: LazyLock<SessionCookie<String>> = LazyLock::new(|| {
    let builder = SessionCookie::builder("sid", ring(2, 0)).app("fuzz").budget(Budget::chunked(2));
    builder.without_compression().build().expect("these settings work")
});

/// A session, the `Cookie` header of a browser that has it, and its token.
pub struct Sealed {
    pub value: String,
    pub header: String,
    pub token: String,
}

/// Two of them: in one cookie, sealed last, and in two.
pub static SEALED: LazyLock<[Sealed; 2]> = LazyLock::new(|| {
    [(300, START + Duration::HOUR), (3500, START)].map(|(len, now)| {
        let mut session = COOKIE.open_at([""], now).into_session();
        *session = "v".repeat(len);
        let sealed = COOKIE.seal_at(&session, now, &mut Seeded(len as u64), 0).expect("it fits");
        let Outgoing::Cookies(cookies) = sealed else { panic!("it was changed") };
        let header = cookies.cookie_header();
        let values = header.split("; ").map(|pair| pair.split_once('=').expect("a value").1);
        let token = values.map(|value| value.split_once('.').map_or(value, |(_, piece)| piece)).collect();
        Sealed { value: session.clone(), header, token }
    })
});

/// The `Cookie` header fields of an input: as it is, save that a byte from 0x80 on stands for one of the good headers or
/// a part of one, that 0xFE changes what stands before it by the byte behind it, and that 0xFF begins another field.
pub fn fields(data: &[u8], good: &[&str]) -> Vec<Vec<u8>> {
    let parts = good.iter().flat_map(|header| header.split(['=', ';', '.', ' ']));
    let words: Vec<&str> =
        good.iter().copied().chain(parts).chain(["sid=", "sid.1=", "sid.seen=", "; "]).collect();
    let mut fields = vec![Vec::new()];
    let mut input = Input(data);
    while !input.0.is_empty() {
        let byte = input.byte();
        let field = fields.last_mut().expect("there is one from the start");
        match byte {
            0xFF => fields.push(Vec::new()),
            0xFE => {
                let back = usize::from(input.byte());
                if let Some(last) = field.iter_mut().rev().nth(back) {
                    *last ^= input.byte();
                }
            }
            0x80.. => field.extend_from_slice(words[usize::from(byte - 0x80) % words.len()].as_bytes()),
            plain => field.push(plain),
        }
    }
    fields
}
