//! A browser, a server and its store, and one run of some requests between them.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use hardtack::{Budget, Key, KeyRing, Lifetime, OsRandom, SessionManager};
use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue};
use time::{Duration, OffsetDateTime};

use crate::browser::{Browser, Url};
use crate::event::{self, Event, EventKind};
use crate::explorer::Explorer;
use crate::history::{Cookie, End, History, Origin, Request};
use crate::stepping::{Fault, Records, SteppingStore};
use crate::visit::{Deed, Ledger, Opened, Visit, serve};

const SHOP: Url = Url::https("www.shop.example", "/");

/// Where the session is before the first request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    Inline,
    Stored,
}

/// The server, and the browser and the store before the first request.
pub(crate) struct World {
    sessions: SessionManager<Ledger>,
    store: Arc<SteppingStore>,
    browser: Browser,
    records: Records,
    pub(crate) start: Start,
    sealed: Opened,
}

/// How long after the last request the cookies are tried again: longer than any grace, shorter than any session.
const LATER: Duration = Duration::HOUR;

/// More events than any run should have.
const ENDLESS: usize = 100;

impl World {
    pub(crate) fn new(start: Start) -> Self {
        let store = Arc::new(SteppingStore::default());
        let ring = KeyRing::new([Key::generate(&mut OsRandom).expect("random bytes")]).expect("one key");
        let sessions = SessionManager::<Ledger>::builder("__Host-session", ring)
            .lifetime(Lifetime::absolute(Duration::DAY))
            .budget(Budget::new(1, 460))
            .shared_store(Arc::clone(&store) as _)
            .without_compression()
            .build()
            .expect("the settings work");
        let mut response = HeaderMap::new();
        let mut session = now(sessions.load(&HeaderMap::new())).expect("nothing is loaded");
        session.entries.push(0);
        if start == Start::Stored {
            session.grow();
        }
        now(sessions.commit(&mut session, &mut response)).expect("it fits");
        let sealed = Opened::from(&session);
        let mut browser = Browser::default();
        let fields = response.get_all(SET_COOKIE).iter();
        receive(&mut browser, fields.map(|field| field.to_str().expect("visible ASCII")));
        let records = store.records();
        Self { sessions, store, browser, records, start, sealed }
    }

    /// Runs these requests in the explorer's order. `None` if that adds nothing to the orders before.
    pub(crate) fn run(
        &self,
        deeds: &[Deed],
        faults: &[Fault],
        explorer: &mut Explorer<Event>,
    ) -> Option<History> {
        self.store.reset(&self.records, faults, deeds.len());
        let mut run = Run {
            world: self,
            browser: self.browser.clone(),
            events: Vec::new(),
            phases: deeds.iter().map(|_| Phase::Planned).collect(),
            sent_with: vec![None; deeds.len()],
            ends: vec![End { cookie: Some(Origin::Start), received: Vec::new() }],
        };
        loop {
            let possible = run.possible();
            if possible.is_empty() {
                break;
            }
            let event = explorer.choose(possible)?;
            run.happen(event, deeds);
            assert!(run.events.len() < ENDLESS, "{deeds:?} do not end: {}", event::told(&run.events));
            if self.store.is_redundant() {
                return None;
            }
        }
        // Without one of its faults this is a run of fewer faults.
        (self.store.faults() == faults.len()).then(|| run.finish(deeds))
    }

    /// What a request with these cookies opens, when nothing else goes on.
    fn open(&self, browser: &Browser) -> Opened {
        let session = now(self.sessions.load(&request(&mut browser.clone())));
        Opened::from(&session.expect("nothing fails now"))
    }
}

/// A run that is going on.
struct Run<'w> {
    world: &'w World,
    browser: Browser,
    events: Vec<Event>,
    phases: Vec<Phase<'w>>,
    sent_with: Vec<Option<Origin>>,
    ends: Vec<End>,
}

enum Phase<'w> {
    Planned,
    Served(Pin<Box<dyn Future<Output = Visit> + 'w>>),
    Answered { visit: Box<Visit>, received: bool },
}

impl Run<'_> {
    fn possible(&self) -> Vec<Event> {
        let event = |(request, phase): (usize, &Phase<'_>)| {
            let kind = match phase {
                Phase::Planned => EventKind::Send,
                Phase::Served(_) => {
                    EventKind::Call(self.world.store.announced(request).expect("it waits for the store"))
                }
                Phase::Answered { received: false, .. } => EventKind::Receive,
                Phase::Answered { received: true, .. } => return None,
            };
            Some(Event { request, kind })
        };
        self.phases.iter().enumerate().filter_map(event).collect()
    }

    fn happen(&mut self, event: Event, deeds: &[Deed]) {
        self.events.push(event);
        let Event { request: number, kind } = event;
        match kind {
            EventKind::Send => {
                let end = self.ends.pop().expect("there is one at any time");
                self.sent_with[number] = end.cookie;
                self.ends = vec![end];
                let headers = request(&mut self.browser);
                let served = serve(&self.world.sessions, headers, deeds[number], entry(number));
                self.phases[number] = Phase::Served(Box::pin(served));
                self.poll(number);
            }
            EventKind::Call(_) => self.poll(number),
            EventKind::Receive => {
                let Phase::Answered { visit, received } = &mut self.phases[number] else {
                    unreachable!("only what was answered is received")
                };
                *received = true;
                receive(&mut self.browser, visit.fields.iter().map(String::as_str));
                let mut end = self.ends.last().expect("there is one at any time").clone();
                end.received.push(number);
                if !visit.fields.is_empty() {
                    end.cookie = visit.sets_a_cookie().then_some(Origin::Response(number));
                }
                self.ends.push(end);
            }
        }
    }

    fn poll(&mut self, number: usize) {
        let Phase::Served(served) = &mut self.phases[number] else {
            unreachable!("only what is served is polled")
        };
        self.world.store.run_for(Some(number));
        let polled = served.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        self.world.store.run_for(None);
        if let Poll::Ready(visit) = polled {
            // A response that sets nothing changes nothing when it arrives.
            let received = visit.fields.is_empty();
            self.phases[number] = Phase::Answered { visit: Box::new(visit), received };
        }
    }

    fn finish(self, deeds: &[Deed]) -> History {
        let Self { world, events, phases, sent_with, ends, .. } = self;
        let visits = phases.into_iter().map(|phase| match phase {
            Phase::Answered { visit, .. } => *visit,
            _ => unreachable!("nothing more is possible"),
        });
        let requests: Vec<Request> = visits
            .enumerate()
            .map(|(number, visit)| Request {
                deed: deeds[number],
                entry: entry(number),
                sent_with: sent_with[number],
                visit,
            })
            .collect();
        let store = &world.store;
        let (faults, has_repeated_an_id) = (store.faults(), store.has_repeated_an_id());
        let set = requests.iter().enumerate().filter(|(_, request)| request.visit.sets_a_cookie());
        let set = set.map(|(number, request)| {
            let mut browser = Browser::default();
            receive(&mut browser, request.visit.fields.iter().map(String::as_str));
            let sealed = request.visit.left.clone().expect("it was committed");
            (Origin::Response(number), browser, sealed)
        });
        let all: Vec<_> =
            [(Origin::Start, world.browser.clone(), world.sealed.clone())].into_iter().chain(set).collect();
        let opens: Vec<Opened> = all.iter().map(|(_, browser, _)| world.open(browser)).collect();
        let changes = store.pass(LATER);
        let cookies = all.into_iter().zip(opens).map(|((origin, browser, sealed), opens)| {
            let opens_later = if changes { world.open(&browser) } else { opens.clone() };
            Cookie { origin, sealed, opens, opens_later }
        });
        let cookies = cookies.collect();
        History { events, requests, ends, cookies, faults, has_repeated_an_id }
    }
}

impl Visit {
    /// Whether the response sets the session's cookie, rather than removing it.
    fn sets_a_cookie(&self) -> bool {
        self.fields.iter().any(|field| !field.ends_with("; Max-Age=0"))
    }
}

/// What a request writes: zero is what was there before all of them.
fn entry(request: usize) -> u8 {
    u8::try_from(request + 1).expect("few requests")
}

fn request(browser: &mut Browser) -> HeaderMap {
    let cookies = browser.send(SHOP, OffsetDateTime::now_utc());
    let mut headers = HeaderMap::new();
    if !cookies.is_empty() {
        headers.insert(COOKIE, HeaderValue::from_str(&cookies.join("; ")).expect("visible ASCII"));
    }
    headers
}

fn receive<'f>(browser: &mut Browser, fields: impl Iterator<Item = &'f str>) {
    fields.for_each(|field| browser.receive(SHOP, field, OffsetDateTime::now_utc()));
}

/// The outcome of what does not wait.
fn now<R>(future: impl Future<Output = R>) -> R {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => unreachable!("without a run the store answers at once"),
    }
}
