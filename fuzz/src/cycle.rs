//! The world around a session: a value, a handler's steps, a browser and a store, in a few lines each.

use std::collections::{BTreeMap, HashMap};

use hardtack::store::{Expect, Record, RecordId};
use hardtack::{
    Budget, Format, KeyRing, Lifetime, Opened, Secret, Session, SessionCookie, SetCookies, StoreOp,
};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::{Input, Seeded};

/// A value of every kind that serde knows apart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Value {
    name: String,
    tags: Vec<String>,
    counts: BTreeMap<String, Option<i64>>,
    choice: Choice,
    token: Secret<String>,
    tokens: Vec<Option<Secret<String>>>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
enum Choice {
    #[default]
    None,
    One(String),
    Two(u8, i64),
    Named {
        flag: bool,
        text: Option<String>,
    },
}

/// The server's settings as of a request; each flag is one way of doing things.
pub fn cookie(ring: KeyRing, budget: Budget, flags: u8) -> SessionCookie<Value> {
    let flag = |number: u8| flags & (1 << number) != 0;
    let mut builder = SessionCookie::builder("sid", ring).budget(budget);
    if flag(0) {
        builder = builder.allow_store();
    }
    if flag(1) {
        builder = builder.without_compression();
    }
    if flag(2) {
        builder = builder.format(Format::Json);
    }
    let lifetime = Lifetime::absolute(Duration::WEEK);
    let lifetime = if flag(3) { lifetime } else { lifetime.idle(Duration::minutes(30)) };
    builder.lifetime(lifetime).build().expect("these settings work")
}

/// What a handler, an operator or a stranger does with the session of one request.
pub fn step(input: &mut Input, session: &mut Session<Value>, browser: &mut Browser, first_key: &mut u8) {
    match input.byte() % 14 {
        0 => session.name = input.text(40),
        1 => {
            let (seed, blocks) = (input.byte(), input.byte());
            session.tags.push(noise(seed.into(), 16 * usize::from(blocks)));
        }
        2 => session.tags.truncate(input.byte().into()),
        3 => session.rotate(),
        4 => session.destroy(),
        5 => session.set_subject(input.text(10)),
        6 => session.clear_subject(),
        7 => session.token = Secret::new(input.text(60)),
        8 => {
            let (name, count) = (input.text(4), input.byte());
            session.counts.insert(name, (count > 9).then(|| i64::from(count) << (count % 57)));
        }
        9 => {
            session.choice = match input.byte() % 4 {
                0 => Choice::None,
                1 => Choice::One(input.text(9)),
                2 => Choice::Two(input.byte(), -i64::from(input.byte())),
                _ => Choice::Named { flag: input.byte() > 0, text: Some(input.text(9)) },
            }
        }
        10 => {
            let token = (input.byte() > 99).then(|| Secret::new(input.text(20)));
            session.tokens.push(token);
        }
        11 => *first_key = input.byte(),
        12 => browser.plant(input),
        _ => session.token.expose_mut().push_str(""),
    }
}

/// Text that does not compress.
fn noise(seed: u64, len: usize) -> String {
    let mut random = Seeded(seed);
    (0..len).map(|_| char::from(b'!' + (random.next() % 94) as u8)).collect()
}

/// What it takes to remove a cookie, at the most.
const EXPIRY: usize = "Set-Cookie: sid.62=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0\r\n".len();

/// A browser that visits one page of one server.
#[derive(Default)]
pub struct Browser {
    cookies: BTreeMap<String, String>,
}

impl Browser {
    /// Takes a response's cookies. If they are more than the note of the last request, nothing else may be left, save
    /// what this budget cannot have set and has no room to remove.
    pub fn receive(&mut self, cookies: &SetCookies, budget: Budget) {
        let (mut set, mut whole) = (Vec::new(), false);
        for field in cookies.iter() {
            let (name, rest) = field.split_once('=').expect("a name");
            let (value, attributes) = rest.split_once(';').expect("attributes");
            assert!(name.len() + value.len() <= 4096, "a browser would drop {name} without a word");
            whole |= name != "sid.seen";
            if attributes.ends_with("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
                set.push(name);
            }
        }
        let room = budget.total() - cookies.header_len();
        for left in self.cookies.keys().filter(|name| whole && !set.contains(&name.as_str())) {
            let number = left.strip_prefix("sid.").and_then(|number| number.parse::<u8>().ok());
            assert!(number >= Some(budget.cookies()) && room < EXPIRY, "{left} is left");
        }
    }

    /// A cookie of one of our names from elsewhere, though it does not displace one of ours.
    fn plant(&mut self, input: &mut Input) {
        let name = match input.byte() % 64 {
            0 => "sid".to_owned(),
            63 => "sid.seen".to_owned(),
            number => format!("sid.{number}"),
        };
        let value = input.text(50).replace(';', "");
        self.cookies.entry(name).or_insert(value);
    }

    fn header(&self) -> String {
        let pairs = self.cookies.iter().map(|(name, value)| format!("{name}={value}"));
        pairs.collect::<Vec<_>>().join("; ")
    }
}

/// A store whose callers come one after the other, so that nothing conflicts.
#[derive(Default)]
pub struct Store {
    records: HashMap<RecordId, Record>,
}

impl Store {
    /// The session of a request.
    pub fn open(
        &self,
        cookie: &SessionCookie<Value>,
        browser: &Browser,
        now: OffsetDateTime,
    ) -> Session<Value> {
        match cookie.open_at([&browser.header()], now) {
            Opened::Fresh(session) | Opened::Ready(session) => session,
            Opened::Stored(lookup) => {
                let record = self.load(lookup.record_id(), now);
                cookie.open_record_at(lookup, record, now)
            }
        }
    }

    /// Does what a response depends on.
    pub fn run(&mut self, op: StoreOp, now: OffsetDateTime) {
        let version = |id| self.load(id, now).map(|record| record.version);
        match op {
            StoreOp::Save(record, expect) => {
                let expected = if let Expect::Version(version) = expect { Some(version) } else { None };
                assert_eq!(version(&record.id), expected, "a save in conflict with nobody");
                self.records.insert(record.id, record);
            }
            StoreOp::Touch(id, expected, expires_at) => {
                assert_eq!(version(&id), Some(expected));
                self.records.entry(id).and_modify(|record| record.expires_at = expires_at);
            }
            StoreOp::End(id, expected) => {
                assert_eq!(version(&id), Some(expected));
                self.records.remove(&id);
            }
            other => unreachable!("{other:?} is new"),
        }
    }

    fn load(&self, id: &RecordId, now: OffsetDateTime) -> Option<Record> {
        self.records.get(id).filter(|record| now < record.expires_at).cloned()
    }
}
