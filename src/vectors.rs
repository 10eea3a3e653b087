//! The cases of `tests/vectors`, each held against the code in both directions. `tests/vectors/README.md` explains
//! their fields. A refused case proves only that the code refuses it; the reasons are for people.

mod case;
mod raw;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use base64_simd::URL_SAFE_NO_PAD;
use time::Duration;

use crate::aead::{Kind, Root};
use crate::chunk::{self, Piece};
use crate::compress;
use crate::cookie::{CookieSpec, Role};
use crate::format::{Format, Watch};
use crate::lifetime::{Limits, time};
use crate::payload::{self, Body, Compression, State};
use crate::secret;
use crate::seen::Seen;
use crate::session::{Arrived, Home, Metadata, RecordAt, Session, SessionId};
use crate::store::{Record, RecordId};
use crate::token;
use crate::varint;
use crate::wiped::Wiped;
use crate::{Builder, Key, KeyRing, Lifetime, Opened, Reason, Secret, SessionCookie};
use case::Case;
use raw::Raw;

const FILES: [&str; 8] = ["chunk", "cookie", "payload", "record", "seen", "segment", "subject", "token"];

#[test]
fn every_file_of_vectors_belongs_to_a_test() {
    for file in files() {
        let name = file.file_name().expect("a file has a name").to_string_lossy().into_owned();
        let known = FILES.iter().any(|file| name.starts_with(&format!("{file}-v1")));
        assert!(known || name == "README.md", "nobody reads {name}");
    }
}

#[test]
fn tokens_open_and_are_sealed_again_to_the_same_text() {
    each("token", |case| {
        let key = Key::unchecked(case.array("key"));
        let tokens = case.tokens(&KeyRing::new([key]).expect("one key"), kind(case.text("kind")));
        let (bound, plaintext, nonce) = (case.bytes("aad"), case.bytes("plaintext"), case.array("nonce"));
        let opened =
            token::from_text(case.text("token")).and_then(|token| tokens.open(&bound, token, |_| true));
        let opened = opened.ok().map(|plain| plain.payload().to_vec());
        assert_eq!(opened.as_ref(), case.opens().then_some(&plaintext));
        if case.opens() {
            let sealed =
                tokens.seal(0, &bound, &nonce, plaintext.len(), |out| out.extend_from_slice(&plaintext));
            assert_eq!(token::to_text(&sealed), case.text("token"));
        }
    });
}

#[test]
fn payloads_are_read_and_written_again_to_the_same_bytes() {
    each("payload", |case| {
        let plaintext = case.bytes("plaintext");
        let read = payload::read(&plaintext)
            .map(|(metadata, body)| (metadata, body.map(|range| plaintext[range.clone()].to_vec())));
        assert_eq!(read, case.opens().then(|| (case.metadata(), case.body())));
        if let Some((_, body)) = read {
            assert_eq!(written(&case.given().metadata(), &body), plaintext);
            let (public, secret) = segments(&body);
            assert_eq!(plaintext.len() - public.len() - secret.len(), case.size("metadata"));
        }
    });
}

#[test]
fn a_payload_that_is_cut_anywhere_before_its_secret_segment_is_refused() {
    each("payload", |case| {
        if case.opens() {
            let plaintext = case.bytes("plaintext");
            let secret = segments(&case.body()).1.len();
            // The secret segment is all that is left, so only its own layout can tell that something is missing.
            for end in 0..plaintext.len() - secret {
                assert_eq!(payload::read(&plaintext[..end]), None, "cut to {end} bytes");
            }
        }
    });
}

#[test]
fn segments_are_taken_apart_and_put_together_again() {
    each("segment", |case| {
        let segment = case.bytes("segment");
        if case.text("kind") == "compressed" {
            let cap = case.size("cap");
            let inflated = compress::inflate(&segment, cap).ok().map(|inflated| inflated.to_vec());
            assert_eq!(inflated, case.opens().then(|| case.bytes("inflated")));
            // Another release of zstd may find other bytes for the same text.
            for segment in inflated.iter().filter_map(|inflated| compress::deflate(inflated)) {
                assert_eq!(compress::inflate(&segment, cap).ok().map(|again| again.to_vec()), inflated);
            }
        } else {
            let secrets = secrets_of(&segment);
            assert_eq!(secrets, case.opens().then(|| case.list("secrets")));
            if let Some(secrets) = secrets {
                assert_eq!(*secret_segment(secrets), segment);
            }
        }
    });
}

#[test]
fn subjects_and_key_ids_are_derived_as_published() {
    each("subject", |case| {
        let root = Root::new(&Key::unchecked(case.array("key")));
        assert_eq!(*root.key_id().as_bytes(), case.array("kid"));
        assert_eq!(root.subjects(case.text("app")).compute(&case.bytes("user")), case.array("subject"));
    });
}

#[test]
fn the_seen_cookies_of_a_request_tell_the_time_that_counts() {
    each("seen", |case| {
        // A session of this id, sealed in the first second of 1970, that a request of the next second carries.
        let id = SessionId::from_bytes(case.array("id"));
        let metadata = Metadata { id, ..started(0) };
        let body = Body::State(State {
            record: false,
            codec: 0,
            compression: Compression::None,
            public: Vec::new(),
            secret: Vec::new(),
        });
        let token = case.seal(Kind::Cookie, 0, &[], [0; 24], &metadata, &body);
        let mut headers = case.headers();
        headers.push(format!("{}={}", case.text("cookie_name"), token::to_text(&token)));
        let second = Duration::SECOND;
        let cookie = case.cookie(|builder| builder.lifetime(longest().idle(LONGEST).renew_after(second)));
        let session = cookie.open_at(&headers, time(1)).into_session();
        // Where none verifies, the time of sealing counts.
        assert_eq!(arrived(&session).last_seen, if case.opens() { case.number("seconds") } else { 0 });

        if case.opens() {
            let (ring, text, seconds) = (case.ring(), case.text("seen"), case.number("seconds"));
            let seen = Seen::bind(&ring, case.text("app"), case.text("cookie_name"));
            assert_eq!(seen.open(&id, text, |_| true), Some(seconds));
            let kid = URL_SAFE_NO_PAD.decode_to_vec(text).expect("base64url");
            assert_eq!(seen.seal(index(&ring, &kid), &id, seconds), text);
        }
    });
}

#[test]
fn cookies_are_joined_to_candidates_and_a_token_is_split_to_cookies() {
    each("chunk", |case| {
        let spec = CookieSpec::unchecked(case.text("cookie_name"));
        let headers = case.headers();
        let (mut tokens, mut pieces) = (Vec::new(), Vec::new());
        for (role, value) in spec.read(&headers) {
            let Role::State(number) = role else { continue };
            match Piece::parse(number, value) {
                Some(piece) => pieces.push(piece),
                None if number == 0 && !value.is_empty() && !value.contains(&b'.') => {
                    tokens.push(value.to_owned());
                }
                None => {}
            }
        }
        tokens.extend(chunk::join(&pieces).map(|(token, _)| token));
        let tokens: Vec<_> = tokens.iter().map(|token| String::from_utf8_lossy(token)).collect();
        assert_eq!(tokens, if case.opens() { case.texts("tokens") } else { Vec::new() });

        if let Some(count) = case.find("n") {
            let count = u8::try_from(count.as_u64().expect("a number")).expect("at most 63");
            let cookies: Vec<String> = (0..)
                .zip(chunk::split(case.text("token"), count))
                .map(|(number, value)| {
                    let mut cookie = String::new();
                    spec.push_name(Role::State(number), &mut cookie);
                    cookie + "=" + &value
                })
                .collect();
            assert_eq!([cookies.join("; ")].as_slice(), headers);
        }
    });
}

#[test]
fn a_request_gives_the_session_that_wins_or_none() {
    each("cookie", |case| {
        let now = time(case.number("now"));
        let opened =
            case.cookie(|builder| builder.lifetime(longest()).allow_store()).open_at(&case.headers(), now);
        if !case.opens() {
            let Opened::Fresh(session) = opened else { panic!("opened, though it must be refused") };
            return refused(&session);
        }
        let token = token::from_text(case.text("token")).expect("a token's text");
        case.sealed_again(Kind::Cookie, &[], &token);
        match (opened, case.payload().body()) {
            (Opened::Ready(session), Body::State(_)) => case.arrived_whole(&session),
            (Opened::Stored(lookup), Body::Reference { record, version }) => {
                assert_eq!((*lookup.record_id(), lookup.at_least()), (record, version));
            }
            (Opened::Fresh(session), _) => panic!("refused: {:?}", session.refusal().map(|why| why.reason())),
            (opened, _) => panic!("in another place: {opened:?}"),
        }
    });
}

#[test]
fn a_record_gives_the_session_that_its_reference_means_or_none() {
    each("record", |case| {
        let now = case.number("now");
        let (record_id, version) = (RecordId::from_bytes(case.array("record_id")), case.number("version"));
        let metadata = Metadata { id: SessionId::from_bytes(case.array("id")), ..started(now) };
        let reference = Body::Reference { record: record_id, version };
        let reference = case.seal(Kind::Cookie, 0, &[], [0; 24], &metadata, &reference);
        let header = format!("{}={}", case.text("cookie_name"), token::to_text(&reference));
        let cookie = case.cookie(|builder| builder.lifetime(longest()).allow_store());
        let Opened::Stored(lookup) = cookie.open_at([&header], time(now)) else { panic!("a reference") };

        let sealed = case.bytes("record");
        // The store's copy of the version is not what these cases are about, so it is the sealed one where there is one.
        let inside =
            case.tokens(&case.ring(), Kind::Record).open(record_id.as_bytes(), sealed.clone(), |_| true);
        let inside = inside.ok().and_then(|plain| payload::read(plain.payload()));
        let version = inside.map_or(version, |(metadata, _)| metadata.sequence);
        let record = Record { id: record_id, version, expires_at: time(now + 1), sealed };
        let session = cookie.open_record_at(lookup, Some(record), time(now));
        if !case.opens() {
            return refused(&session);
        }
        case.sealed_again(Kind::Record, record_id.as_bytes(), &case.bytes("record"));
        case.arrived_whole(&session);
        assert_eq!(arrived(&session).home, Home::Record(RecordAt { id: record_id, version }));
    });
}

impl Case {
    /// A session cookie whose sessions hold any bytes, in any schema.
    fn cookie(&self, with: impl FnOnce(Builder<Raw>) -> Builder<Raw>) -> SessionCookie<Raw> {
        let builder = SessionCookie::builder(self.text("cookie_name"), self.ring()).app(self.text("app"));
        let schema = self.find("payload").map(|_| self.payload().metadata().schema);
        let builder = match schema {
            Some(schema) => builder.schema(schema),
            // A refused case does not say its number.
            None => (0..128)
                .fold(builder.schema(u32::MAX), |builder, old| builder.upgrade_from(old, |raw: Raw| raw)),
        };
        with(builder).build().expect("settings that work")
    }

    fn seal(
        &self,
        kind: Kind,
        key: usize,
        bound: &[u8],
        nonce: [u8; 24],
        metadata: &Metadata,
        body: &Body<Vec<u8>>,
    ) -> Vec<u8> {
        let plaintext = written(metadata, body);
        let write = |out: &mut Vec<u8>| out.extend_from_slice(&plaintext);
        self.tokens(&self.ring(), kind).seal(key, bound, &nonce, plaintext.len(), write)
    }

    /// Sealing what the case holds under its nonce gives the same token.
    #[track_caller]
    fn sealed_again(&self, kind: Kind, bound: &[u8], token: &[u8]) {
        let (key, payload) = (index(&self.ring(), &token[1..]), self.payload());
        let again = self.seal(kind, key, bound, self.array("nonce"), &payload.metadata(), &payload.body());
        assert_eq!(again, token);
    }

    /// The session holds what the case says: metadata, value and secrets.
    #[track_caller]
    fn arrived_whole(&self, session: &Session<Raw>) {
        let arrived = arrived(session);
        let encoded = arrived.encoded.as_ref().expect("no upgrade was needed");
        assert_eq!(arrived.metadata, self.payload().metadata());
        assert_eq!(encoded.public(), self.bytes("value"));
        assert_eq!(secrets_of(encoded.secret()), Some(self.list("secrets")));
        if self.payload().text("codec") == "postcard" {
            assert_eq!(session.0, self.bytes("value"), "the value was not decoded from its bytes");
        }
    }
}

/// Runs every case of a file, and then says which of them failed.
#[track_caller]
fn each(kind: &str, check: impl Fn(&Case)) {
    let prefix = format!("{kind}-v1");
    let mut failed = Vec::new();
    let mut count = 0;
    for file in files() {
        if !file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix)) {
            continue;
        }
        let text = fs::read_to_string(&file).expect("a readable file");
        let cases: Vec<serde_json::Value> = serde_json::from_str(&text).expect("a list of cases");
        for case in cases.into_iter().map(Case) {
            count += 1;
            if catch_unwind(AssertUnwindSafe(|| check(&case))).is_err() {
                failed.push(case.text("comment").to_owned());
            }
        }
    }
    assert!(count > 0, "no case of {prefix}");
    assert!(failed.is_empty(), "{prefix}: {} of {count} cases failed: {failed:#?}", failed.len());
}

fn files() -> impl Iterator<Item = PathBuf> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors");
    fs::read_dir(directory).expect("the vectors").map(|entry| entry.expect("an entry").path())
}

fn kind(text: &str) -> Kind {
    match text {
        "cookie" => Kind::Cookie,
        "record" => Kind::Record,
        "seen" => Kind::Seen,
        other => panic!("no kind is called {other}"),
    }
}

/// The ring's key that a token, or a seen cookie, begins with.
fn index(ring: &KeyRing, kid: &[u8]) -> usize {
    ring.key_ids().position(|id| kid.starts_with(id.as_bytes())).expect("a key of the ring")
}

#[track_caller]
fn arrived<T>(session: &Session<T>) -> &Arrived {
    session.as_arrived().unwrap_or_else(|| panic!("refused: {:?}", session.refusal().map(|why| why.reason())))
}

/// The session is a fresh one, and not because of how these tests read.
#[track_caller]
fn refused(session: &Session<Raw>) {
    assert!(session.is_fresh(), "opened, though it must be refused");
    let reason = session.refusal().map(|refusal| refusal.reason());
    assert_ne!(reason, Some(Reason::UnknownSchema), "the tests know too few schemas");
}

/// A session that began at this time and lives.
fn started(now: u64) -> Metadata {
    Metadata {
        id: SessionId::from_bytes([0; 16]),
        created: now,
        authenticated: None,
        sealed: now,
        expires: now + Limits::LONGEST,
        sequence: 1,
        schema: 0,
        subject: None,
    }
}

const LONGEST: Duration = Duration::seconds(Limits::LONGEST.cast_signed());

fn longest() -> Lifetime {
    Lifetime::absolute(LONGEST)
}

fn segments(body: &Body<Vec<u8>>) -> (&[u8], &[u8]) {
    match body {
        Body::Reference { .. } => (&[], &[]),
        Body::State(state) => (&state.public, &state.secret),
    }
}

fn written(metadata: &Metadata, body: &Body<Vec<u8>>) -> Vec<u8> {
    let body = body.map(Vec::as_slice);
    let mut out = Vec::new();
    payload::write(metadata, &body, &mut out);
    assert_eq!(out.len(), payload::len(metadata, &body), "the length foretold");
    out
}

/// The secrets of a segment as their encoded bytes, read as a session's value would read them.
fn secrets_of(segment: &[u8]) -> Option<Vec<Vec<u8>>> {
    let _secrets = secret::opening(Format::Postcard, segment)?;
    let read = |index: u64| {
        let mut place = Vec::new();
        varint::write(index, &mut place);
        Format::Postcard.read::<Secret<Raw>>(&place).map(|secret| secret.expose().0.clone())
    };
    Some((0..).map_while(read).collect())
}

fn secret_segment(secrets: Vec<Vec<u8>>) -> Wiped {
    let secrets: Vec<Secret<Raw>> = secrets.into_iter().map(|bytes| Secret::new(Raw(bytes))).collect();
    let mut segment = Wiped::default();
    let write = |watch: &Watch| Format::Postcard.write(&secrets, &mut Wiped::default(), watch);
    secret::sealing(Format::Postcard, &mut segment, write).expect("bytes can be written");
    segment
}
