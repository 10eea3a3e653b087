//! A browser, servers that share a ring, a store, and what should be the case between them.

use std::collections::HashMap;

use hardtack::store::RecordId;
use hardtack::{
    Key, Opened, Outgoing, Placement, Reason, SealError, Session, SessionCookie, SessionId, Subject,
};
use time::{Duration, OffsetDateTime};

use crate::browser::{Browser, Cookie, MAX_NAME_AND_VALUE};
use crate::records::Records;
use crate::setting::{ABSOLUTE, SHOP, Setting, ring};
use crate::shop::{Seeded, Shop, noise};
use crate::visit::{Deed, Event, Visit};

/// What the server should find at the next request.
#[derive(Clone, Debug)]
struct Expected {
    shop: Shop,
    id: SessionId,
    created: OffsetDateTime,
    authenticated: Option<OffsetDateTime>,
    expires: OffsetDateTime,
    used: OffsetDateTime,
    sequence: u64,
    subject: Option<Subject>,
    placement: Placement,
    /// By its place among the keys.
    key: usize,
}

pub(crate) struct World {
    setting: Setting,
    keys: Vec<Key>,
    servers: HashMap<(usize, bool), SessionCookie<Shop>>,
    browser: Browser,
    records: Records,
    random: Seeded,
    now: OffsetDateTime,
    expected: Option<Expected>,
    subjects: HashMap<(&'static str, usize), Subject>,
    abandoned: Vec<RecordId>,
}

const START: OffsetDateTime = time::macros::datetime!(2026-01-01 00:00 UTC);

/// How long a record goes on that is not needed any more.
const GRACE: Duration = Duration::seconds(60);

/// More than it takes to remove any cookie of ours.
const EXPIRY: usize = 160;

impl World {
    pub(crate) fn new(setting: Setting) -> Self {
        let mut random = Seeded(setting.budget.total() as u64);
        let keys = (0..setting.keys).map(|_| Key::generate(&mut random).expect("seeded")).collect();
        Self {
            setting,
            keys,
            servers: HashMap::new(),
            browser: Browser::default(),
            records: Records::default(),
            random,
            now: START,
            expected: None,
            subjects: HashMap::new(),
            abandoned: Vec::new(),
        }
    }

    pub(crate) fn visit(&mut self, visit: Visit) {
        self.now += Duration::seconds(visit.wait);
        if self.expected.as_ref().is_some_and(|expected| !self.is_alive(expected)) {
            // Its record, if it has one, goes when its own time is over.
            self.expected = None;
            self.abandoned.extend(self.records.live(self.now).map(|record| record.id));
        }
        for event in visit.before {
            self.happen(event);
        }
        let key = visit.key % self.keys.len();
        self.prepare(key);
        let headers = self.headers(visit.order, visit.fields);
        let mut session = self.open(key, &headers);
        self.check(&session);

        if matches!(visit.deed, Deed::Destroy | Deed::DestroyAndPut(_) | Deed::ExpireIn(_)) {
            // Ending a session binds this cookie, and not the copies that somebody made.
            let setting = self.setting.clone();
            self.browser.forget(|cookie| setting.role(cookie).is_some() && !setting.is_own(cookie));
        }
        visit.deed.apply(&mut session, self.now);
        let server = &self.servers[&(key, self.setting.store)];
        let sealed = server.seal_at(&session, self.now, &mut self.random, visit.spent);
        let room = self.setting.budget.total().saturating_sub(visit.spent);
        let (ops, cookies) = match sealed {
            Err(SealError::TooLarge(figures)) => {
                assert!(
                    figures.needed > figures.budget && figures.needed == figures.parts.total(),
                    "{figures}"
                );
                return self.nothing_happened();
            }
            Err(error) => panic!("{error}"),
            Ok(Outgoing::Unchanged) => {
                self.nothing_lost(key, &session, &visit.deed);
                assert!(visit.spent > 0 || !self.is_due(), "an idle time that is due was not noted");
                return self.nothing_happened();
            }
            Ok(Outgoing::Cookies(cookies)) => (Vec::new(), cookies),
            Ok(Outgoing::Stored(ops, cookies)) => (ops, cookies),
        };
        for op in ops {
            self.records.run(op, self.now);
        }
        let fields: Vec<String> = cookies.iter().map(str::to_owned).collect();
        let octets: usize = fields.iter().map(|field| octets_of(field)).sum();
        assert_eq!(octets, cookies.header_len());
        // What ends a session is sent whatever others have taken.
        let ends = matches!(visit.deed, Deed::Destroy) && visit.spent > 0;
        assert!(octets <= room || ends, "{octets} octets of header, and {room} are allowed");
        for field in &fields {
            self.receive(field);
        }
        let written =
            fields.iter().any(|field| !field.starts_with(&format!("{}.seen=", self.setting.name())));
        if written {
            self.nothing_stale(&fields, room.saturating_sub(octets));
            let set: usize =
                fields.iter().filter(|field| !is_removal(field)).map(|field| octets_of(field)).sum();
            self.moved(key, &session, &visit.deed, &headers, visit.spent, set);
        } else {
            self.nothing_lost(key, &session, &visit.deed);
            self.expected.as_mut().expect("only what lives is renewed").used = self.now;
        }
        self.come_back(key);
    }

    /// No write: then there was nothing to write.
    #[track_caller]
    fn nothing_lost(&self, key: usize, session: &Session<Shop>, deed: &Deed) {
        let Some(expected) = &self.expected else {
            assert_eq!(**session, Shop::default(), "a new session was lost");
            assert!(!deed.rotates() && !matches!(deed, Deed::Subject(_)), "a new session was lost");
            return;
        };
        assert_eq!(**session, expected.shop, "a change was lost");
        match deed {
            Deed::Subject(user) => {
                assert_eq!(expected.subject.as_ref(), self.subjects.get(&(*user, key)), "a subject was lost");
            }
            Deed::ClearSubject => assert_eq!(expected.subject, None, "a subject was not cleared"),
            Deed::ExpireIn(seconds) => {
                let end = (self.now + Duration::seconds(*seconds)).min(expected.created + ABSOLUTE);
                assert_eq!(expected.expires, end, "an expiry was lost");
            }
            _ => assert!(!deed.rotates() && !deed.destroys(), "a rotation or an end was lost"),
        }
    }

    /// A write: what is expected from now on is what the handler left.
    fn moved(
        &mut self,
        key: usize,
        session: &Session<Shop>,
        deed: &Deed,
        headers: &[String],
        spent: usize,
        set: usize,
    ) {
        let before = self.expected.take().filter(|_| !deed.destroys());
        let returned = self.headers(0, 1);
        let after = self.open(key, &returned);
        if after.is_fresh() {
            let over = matches!(deed, Deed::ExpireIn(..=0)) || matches!(deed, Deed::Destroy);
            assert!(over, "the session is gone: {:?}", after.refusal().map(|refusal| refusal.reason()));
            return;
        }
        assert!(!matches!(deed, Deed::Destroy), "a session outlived its end");
        let kept = before.as_ref().filter(|_| !deed.rotates());
        let id = after.id().expect("it is not fresh");
        assert!(kept.is_none_or(|before| before.id == id), "an id changed");
        assert!(kept.is_some() || before.as_ref().is_none_or(|before| before.id != id), "an old id lives on");
        let created = before.as_ref().map_or(self.now, |before| before.created);
        let expires = before.as_ref().map_or(created + ABSOLUTE, |before| before.expires);
        let subject = match deed {
            Deed::Subject(user) => {
                let subject = after.subject().expect("it was set");
                assert_eq!(*self.subjects.entry((user, key)).or_insert(subject), subject);
                Some(subject)
            }
            Deed::ClearSubject => None,
            _ => before.as_ref().and_then(|before| before.subject),
        };
        let placement = after.placement().expect("it is not fresh");
        let was = before.as_ref().map(|before| before.placement);
        let may_be_inline = self.setting.budget.cookies() > 0;
        if placement == Placement::Stored && was != Some(Placement::Stored) && may_be_inline {
            self.fits_no_cookies(key, headers, deed, spent);
        }
        if placement != Placement::Stored && was == Some(Placement::Stored) {
            assert!(set <= self.setting.budget.total() / 4 * 3, "it came back from the store too early");
        }
        self.expected = Some(Expected {
            shop: Shop::clone(session),
            id,
            created,
            authenticated: if deed.rotates() {
                Some(self.now)
            } else {
                before.as_ref().and_then(|before| before.authenticated)
            },
            expires: match deed {
                Deed::ExpireIn(seconds) => (created + ABSOLUTE).min(self.now + Duration::seconds(*seconds)),
                _ => expires,
            },
            used: self.now,
            sequence: before.as_ref().map_or(0, |before| before.sequence) + 1,
            subject,
            placement,
            key,
        });
        let live = self.records.live(self.now + GRACE).filter(|record| !self.abandoned.contains(&record.id));
        assert!(live.count() <= usize::from(placement == Placement::Stored), "a record is left behind");
    }

    /// A state goes into the store only if it does not fit, which a server without a store says.
    fn fits_no_cookies(&mut self, key: usize, headers: &[String], deed: &Deed, spent: usize) {
        let plain =
            self.servers.entry((key, false)).or_insert_with(|| self.setting.server(&self.keys, key, false));
        let (Opened::Fresh(mut session) | Opened::Ready(mut session)) = plain.open_at(headers, self.now)
        else {
            panic!("without a store nothing is stored")
        };
        deed.apply(&mut session, self.now);
        let sealed = plain.seal_at(&session, self.now, &mut Seeded(0), spent);
        assert!(matches!(sealed, Err(SealError::TooLarge(_))), "it would have fitted");
    }

    /// After an answer that could not be given, or none that was needed, all is as it was.
    fn nothing_happened(&mut self) {
        let key = self.random.next().to_le_bytes()[0].into();
        self.come_back(key);
    }

    /// The next request, of whatever server, has what is expected.
    fn come_back(&mut self, key: usize) {
        let key = (key + 1) % self.keys.len();
        self.prepare(key);
        let order = self.random.next();
        let headers = self.headers(order, 2);
        let session = self.open(key, &headers);
        self.check(&session);
    }

    #[track_caller]
    fn check(&self, session: &Session<Shop>) {
        let refusal = session.refusal().map(|refusal| refusal.reason());
        let Some(expected) = &self.expected else {
            assert!(session.is_fresh(), "a session came back from the dead");
            assert_eq!(**session, Shop::default());
            return;
        };
        assert!(!session.is_fresh(), "the session is gone: {refusal:?}");
        assert_eq!(**session, expected.shop);
        assert_eq!(session.id(), Some(expected.id));
        assert_eq!(session.created_at(), Some(expected.created));
        assert_eq!(session.authenticated_at(), expected.authenticated);
        assert_eq!(session.expires_at(), Some(expected.expires));
        assert_eq!(session.sequence(), Some(expected.sequence));
        assert_eq!(session.subject(), expected.subject);
        assert_eq!(session.placement(), Some(expected.placement));
        let ring = ring(&self.keys, expected.key);
        assert_eq!(session.key_id(), ring.sealing_key(self.now));
    }

    /// The session of these headers, from the store if it is there.
    fn open(&self, key: usize, headers: &[String]) -> Session<Shop> {
        let server = &self.servers[&(key, self.setting.store)];
        match server.open_at(headers, self.now) {
            Opened::Ready(session) => session,
            Opened::Fresh(session) => {
                let reason = session.refusal().map(|refusal| refusal.reason());
                let ordinary = [Reason::Malformed, Reason::Version, Reason::Expired, Reason::Idle];
                assert!(reason.is_none_or(|reason| ordinary.contains(&reason)), "{reason:?}");
                session
            }
            Opened::Stored(lookup) => {
                let record = self.records.load(lookup.record_id(), lookup.at_least(), self.now);
                server.open_record_at(lookup, record, self.now)
            }
        }
    }

    fn prepare(&mut self, key: usize) {
        let store = self.setting.store;
        let server = || self.setting.server(&self.keys, key, store);
        self.servers.entry((key, store)).or_insert_with(server);
    }

    /// The request's `Cookie` fields, in any order: it is the browser's, and a proxy's after it.
    fn headers(&mut self, order: u64, fields: usize) -> Vec<String> {
        let mut pairs = self.browser.send(SHOP, self.now);
        if order > 0 {
            Seeded(order).shuffle(&mut pairs);
        }
        let each = pairs.len().div_ceil(fields.max(1)).max(1);
        pairs.chunks(each).map(|pairs| pairs.join("; ")).collect()
    }

    /// The browser takes a cookie of ours, which it must not drop.
    fn receive(&mut self, field: &str) {
        let (pair, attributes) = field.split_once(';').expect("there are attributes");
        let (name, value) = pair.split_once('=').expect("a name and a value");
        assert!(name.len() + value.len() <= MAX_NAME_AND_VALUE - 3, "Safari keeps three less");
        self.browser.receive(SHOP, field, self.now);
        let ends = is_removal(field);
        let kept = self.own().any(|cookie| cookie.name == name && cookie.value == value);
        assert_ne!(kept, ends, "the browser thinks otherwise of {attributes}");
    }

    /// After a write the browser holds what was set, and of what was not only what this budget cannot have set and has no
    /// room to remove.
    fn nothing_stale(&self, fields: &[String], room: usize) {
        let set = |name: &str| fields.iter().any(|field| field.starts_with(&format!("{name}=")));
        let most = self.setting.budget.cookies().max(1).into();
        for cookie in self.own() {
            let old = self.setting.role(cookie).is_some_and(|role| role >= most);
            assert!(set(&cookie.name) || old && room < EXPIRY, "{} is left", cookie.name);
        }
    }

    fn is_alive(&self, expected: &Expected) -> bool {
        let idle = self.setting.idle.map_or(ABSOLUTE, Duration::seconds);
        self.now < expected.expires && self.now < expected.used + idle
    }

    fn is_due(&self) -> bool {
        let renew_after = self.setting.idle.map(|idle| Duration::seconds(idle / 10));
        let used = self.expected.as_ref().map(|expected| expected.used);
        renew_after.zip(used).is_some_and(|(renew_after, used)| self.now >= used + renew_after)
    }

    fn happen(&mut self, event: Event) {
        let name = self.setting.name();
        let mut set = |field: String| self.browser.receive(SHOP, &field, self.now);
        match event {
            Event::Junk(n) => {
                set(format!("app{n}={}; Path=/", noise(n.into())));
                set(format!("{name}{n}=AAAAAC.x; Secure; Path=/"));
                set(format!("x{name}=; Domain=shop.example"));
            }
            Event::Stray { role, value, elsewhere } => {
                let name = if role == 0 { name.to_owned() } else { format!("{name}.{role}") };
                if elsewhere {
                    set(format!("{name}={value}; Secure; Path=/app; Domain=www.shop.example"));
                } else if !self.own().any(|cookie| cookie.name == name) {
                    let field = format!("{name}={value}{}", self.setting.attributes());
                    self.browser.receive(SHOP, &field, self.now);
                }
            }
            Event::Copy => {
                let own: Vec<Cookie> = self.own().cloned().collect();
                for Cookie { name, value, .. } in own {
                    let field = format!("{name}={value}; Secure; Path=/app/cart");
                    self.browser.receive(SHOP, &field, self.now);
                }
            }
        }
    }

    /// The cookies that the browser keeps under our names, path and domain.
    fn own(&self) -> impl Iterator<Item = &Cookie> {
        self.browser.cookies().filter(|cookie| self.setting.is_own(cookie))
    }
}

fn is_removal(field: &str) -> bool {
    field.ends_with("; Max-Age=0")
}

/// What a field takes of the header.
fn octets_of(field: &str) -> usize {
    "Set-Cookie: ".len() + field.len() + "\r\n".len()
}
