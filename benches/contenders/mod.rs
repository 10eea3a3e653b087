//! What is compared: hardtack, `cookie`'s private jar over JSON, and the bare primitives that hardtack is made of.
//!
//! Each seals one value into the text of a `Set-Cookie` field and opens the text of a `Cookie` header into that value.

use std::hint::black_box;

use base64_simd::URL_SAFE_NO_PAD;
use cookie::{Cookie, CookieJar, SameSite};
use hardtack::{Budget, Key, KeyRing, Opened, OsRandom, Outgoing, Session, SessionCookie};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use xaes_256_gcm::Xaes256Gcm;
use xaes_256_gcm::aead::AeadInOut as _;

use crate::samples::Sample;

const NAME: &str = "__Host-session";

/// One way of keeping a value in a cookie.
pub(crate) trait Contender {
    /// Seals the value and drops the text.
    fn seal(&self);
    /// Opens the header and drops the value.
    fn open(&self);
    /// The `Set-Cookie` text that it makes; the primitives make no more than a cookie's value.
    fn line(&self) -> &str;
}

/// The characters of the cookie's value in a `Set-Cookie` text.
pub(crate) fn value_len(line: &str) -> usize {
    let (pair, _) = line.split_once(';').unwrap_or((line, ""));
    pair.strip_prefix(NAME).map_or(pair.len(), |rest| rest.len() - 1)
}

/// The pair in a `Set-Cookie` text: what the browser sends back.
fn pair(line: &str) -> String {
    line.split(';').next().unwrap_or_default().to_owned()
}

pub(crate) struct Hardtack<T> {
    cookie: SessionCookie<T>,
    session: Session<T>,
    line: String,
    header: String,
}

impl<T: Sample> Hardtack<T> {
    /// As it comes: compressed where that pays, in the default budget.
    pub(crate) fn new(value: &T) -> Self {
        Self::build(value, |builder| builder)
    }

    /// Without compression, in the budget of a whole cookie.
    pub(crate) fn uncompressed(value: &T) -> Self {
        Self::build(value, |builder| builder.budget(Budget::chunked(1)).without_compression())
    }

    /// A session that came in a request, and whose value that request has changed.
    fn build(value: &T, settings: impl FnOnce(hardtack::Builder<T>) -> hardtack::Builder<T>) -> Self {
        let cookie =
            settings(SessionCookie::builder(NAME, ring()).app("shop")).build().expect("settings that work");
        let mut session = cookie.open(["theme=dark"]).into_session();
        session.clone_from(value);
        session.login_mut().seen -= 1;
        let (_, header) = sealed(&cookie, &session);
        let Opened::Ready(mut session) = cookie.open([header.as_str()]) else { panic!("it is valid") };
        session.clone_from(value);
        let (line, header) = sealed(&cookie, &session);
        let Opened::Ready(opened) = cookie.open([header.as_str()]) else { panic!("it is valid") };
        assert!(*opened == *value);
        Self { cookie, session, line, header }
    }

    /// The same value in a session that this request begins.
    pub(crate) fn beginning(self) -> Self {
        let mut session = self.cookie.open(["theme=dark"]).into_session();
        session.clone_from(&self.session);
        Self { session, ..self }
    }

    /// The same, but what comes is forged: one bit of the token's MAC, its last octets, is another.
    pub(crate) fn forged(self) -> Self {
        let (name, token) = self.header.split_once('=').expect("a pair");
        let mut token = URL_SAFE_NO_PAD.decode_to_vec(token).expect("a token");
        *token.last_mut().expect("a token") ^= 1;
        let header = format!("{name}={}", URL_SAFE_NO_PAD.encode_to_string(token));
        self.refusing(header)
    }

    /// The same, but what comes was sealed elsewhere, under a key that is not in the ring.
    pub(crate) fn foreign(self, value: &T) -> Self {
        self.refusing(Self::new(value).header)
    }

    fn refusing(self, header: String) -> Self {
        assert!(self.cookie.open([header.as_str()]).into_session().refusal().is_some());
        Self { header, ..self }
    }
}

fn ring() -> KeyRing {
    KeyRing::new([Key::generate(&mut OsRandom).expect("random bytes")]).expect("a ring of one key")
}

/// The `Set-Cookie` text of a session that fits one cookie, and the `Cookie` header that comes of it.
fn sealed<T: Sample>(cookie: &SessionCookie<T>, session: &Session<T>) -> (String, String) {
    let Ok(Outgoing::Cookies(cookies)) = cookie.seal(session) else { panic!("it was changed, and it fits") };
    let lines: Vec<_> = cookies.iter().collect();
    let [line] = lines[..] else { panic!("one cookie") };
    (line.to_owned(), cookies.cookie_header())
}

impl<T: Sample> Contender for Hardtack<T> {
    fn seal(&self) {
        let _ = black_box(self.cookie.seal(black_box(&self.session)));
    }

    fn open(&self) {
        let _ = black_box(self.cookie.open([black_box(self.header.as_str())]));
    }

    fn line(&self) -> &str {
        &self.line
    }
}

/// `cookie`'s private jar, used as its documentation and `axum-extra` use it, the value as JSON.
pub(crate) struct PrivateJar<T> {
    key: cookie::Key,
    value: T,
    line: String,
    header: String,
}

impl<T: Sample> PrivateJar<T> {
    pub(crate) fn new(value: &T) -> Self {
        let key = cookie::Key::generate();
        let line = jar_seal(&key, value);
        let header = pair(&line);
        assert!(jar_open::<T>(&key, &header) == *value);
        Self { key, value: value.clone(), line, header }
    }
}

impl<T: Sample> Contender for PrivateJar<T> {
    fn seal(&self) {
        black_box(jar_seal(&self.key, black_box(&self.value)));
    }

    fn open(&self) {
        black_box(jar_open::<T>(&self.key, black_box(&self.header)));
    }

    fn line(&self) -> &str {
        &self.line
    }
}

fn jar_seal<T: Sample>(key: &cookie::Key, value: &T) -> String {
    let json = serde_json::to_string(value).expect("a value that is JSON");
    let cookie = Cookie::build((NAME, json))
        .http_only(true)
        .secure(true)
        .path("/")
        .same_site(SameSite::Lax)
        .max_age(time::Duration::days(30));
    let mut jar = CookieJar::new();
    jar.private_mut(key).add(cookie);
    jar.get(NAME).expect("it was added").to_string()
}

fn jar_open<T: Sample>(key: &cookie::Key, header: &str) -> T {
    let mut jar = CookieJar::new();
    for cookie in Cookie::split_parse(header) {
        jar.add_original(cookie.expect("a pair").into_owned());
    }
    let cookie = jar.private(key).get(NAME).expect("a cookie under this key");
    serde_json::from_str(cookie.value()).expect("the JSON of a value")
}

/// What cannot be left out: a nonce, the serializer, the cipher, one MAC, base64.
pub(crate) struct Primitives<T> {
    cipher: Xaes256Gcm,
    mac: Hmac<Sha256>,
    value: T,
    text: String,
}

/// A token without its ciphertext: 29 octets before it, of which 24 are the nonce, and 32 behind it.
const HEADER: usize = 29;
const TRAILER: usize = 32;

impl<T: Sample> Primitives<T> {
    pub(crate) fn new(value: &T) -> Self {
        let cipher = Xaes256Gcm::new_from_slice(&[7; 32]).expect("the cipher's 32 bytes");
        let mac = Hmac::new_from_slice(&[9; 32]).expect("HMAC takes keys of any length");
        let mut primitives = Self { cipher, mac, value: value.clone(), text: String::new() };
        primitives.text = primitives.sealed(value);
        assert!(primitives.opened(&primitives.text) == *value);
        primitives
    }

    fn sealed(&self, value: &T) -> String {
        let mut nonce = [0; 24];
        getrandom::fill(&mut nonce).expect("random bytes");
        let mut state = postcard::to_allocvec(value).expect("a value that is postcard");
        let state = state.as_mut_slice();
        let tag =
            self.cipher.encrypt_inout_detached(&nonce.into(), &[], state.into()).expect("a short message");
        let mut header = [1; HEADER];
        header[5..].copy_from_slice(&nonce);
        let mac = self.mac.clone().chain_update(header).chain_update(tag).finalize().into_bytes();
        URL_SAFE_NO_PAD.encode_to_string([&header[..], state, &tag, &mac[..16]].concat())
    }

    fn opened(&self, text: &str) -> T {
        let mut token = URL_SAFE_NO_PAD.decode_to_vec(text).expect("base64url");
        let (header, rest) = token.split_first_chunk_mut::<HEADER>().expect("a token");
        let (state, trailer) = rest.split_last_chunk_mut::<TRAILER>().expect("a token");
        let (tag, mac) = trailer.split_first_chunk::<16>().expect("a token");
        let message = self.mac.clone().chain_update(&header).chain_update(tag);
        message.verify_truncated_left(mac).expect("our MAC");
        let nonce = header.last_chunk::<24>().expect("a nonce");
        self.cipher
            .decrypt_inout_detached(nonce.into(), &[], (&mut *state).into(), tag.into())
            .expect("our tag");
        postcard::from_bytes(state).expect("the postcard of a value")
    }
}

impl<T: Sample> Contender for Primitives<T> {
    fn seal(&self) {
        black_box(self.sealed(black_box(&self.value)));
    }

    fn open(&self) {
        black_box(self.opened(black_box(&self.text)));
    }

    fn line(&self) -> &str {
        &self.text
    }
}
