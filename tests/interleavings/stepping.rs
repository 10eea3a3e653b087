//! A store whose calls take effect one at a time, when they are told to, and fail as planned.

use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use hardtack::store::{BoxFuture, Expect, Record, RecordId, Store, StoreError};
use time::{Duration, OffsetDateTime};

/// A call that fails although nothing is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) request: usize,
    /// Which of its calls, counted from zero.
    pub(crate) call: usize,
    pub(crate) kind: FaultKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// The call has no effect.
    Refused,
    /// The call has its effect, and the answer does not arrive.
    AnswerLost,
}

/// What a call that was announced will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) call: Call,
    /// The record.
    pub(crate) name: Name,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Load,
    Insert,
    Update,
    Touch,
    Delete,
}

/// A record's name in every run, where its id is another each time: who made it, and how many he had made before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) maker: Option<usize>,
    pub(crate) nth: usize,
}

/// Records in a map, as the contract of [`Store`] says.
#[derive(Default)]
pub(crate) struct SteppingStore {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    records: Records,
    names: HashMap<RecordId, Name>,
    /// Who is being polled. Without one, calls take effect at once.
    running: Option<usize>,
    announced: Vec<Option<Access>>,
    calls: Vec<usize>,
    faults: Vec<Fault>,
    happened: usize,
    redundant: bool,
}

/// The content of a store at one time.
#[derive(Clone, Default)]
pub(crate) struct Records {
    live: HashMap<RecordId, Record>,
    /// Every id that was ever inserted.
    used: HashSet<RecordId>,
    repeated: bool,
    /// How much time has passed beyond the clock's.
    passed: Duration,
}

impl SteppingStore {
    /// Begins a run with this content, these faults and so many requests.
    pub(crate) fn reset(&self, records: &Records, faults: &[Fault], requests: usize) {
        let records = records.clone();
        let (announced, calls, faults) = (vec![None; requests], vec![0; requests], faults.to_vec());
        *self.lock() = State { records, announced, calls, faults, ..State::default() };
    }

    /// From now on the calls are this request's, and wait for its next poll.
    pub(crate) fn run_for(&self, request: Option<usize>) {
        self.lock().running = request;
    }

    /// What this request's call will do when it is polled next.
    pub(crate) fn announced(&self, request: usize) -> Option<Access> {
        self.lock().announced[request]
    }

    /// How many of the planned faults happened.
    pub(crate) fn faults(&self) -> usize {
        self.lock().happened
    }

    /// Whether the faults of this run are as good as others: a load whose answer is lost is one that was refused.
    pub(crate) fn is_redundant(&self) -> bool {
        self.lock().redundant
    }

    /// Whether a record was inserted under an id that was taken before.
    pub(crate) fn has_repeated_an_id(&self) -> bool {
        self.lock().records.repeated
    }

    pub(crate) fn records(&self) -> Records {
        self.lock().records.clone()
    }

    /// Lets time pass, for the store alone. Whether that ends a record.
    pub(crate) fn pass(&self, time: Duration) -> bool {
        let records = &mut self.lock().records;
        let live = |records: &Records| records.live.keys().filter(|id| records.load(id).is_some()).count();
        let before = live(records);
        records.passed += time;
        live(records) < before
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call: announced when it is polled first, carried out when it is polled again.
    fn step<'a, R: 'a>(
        &'a self,
        call: Call,
        id: &'a RecordId,
        effect: impl Fn(&mut Records) -> Result<R, StoreError> + Send + 'a,
    ) -> BoxFuture<'a, Result<R, StoreError>> {
        let mut waits = true;
        Box::pin(poll_fn(move |_| {
            let mut state = self.lock();
            let Some(running) = state.running else { return Poll::Ready(effect(&mut state.records)) };
            if std::mem::take(&mut waits) {
                state.announce(running, call, *id);
                return Poll::Pending;
            }
            Poll::Ready(state.carry_out(running, call, &effect))
        }))
    }
}

impl State {
    fn announce(&mut self, request: usize, call: Call, id: RecordId) {
        let nth = self.names.values().filter(|name| name.maker == Some(request)).count();
        // A maker names his record before he inserts it, so the only other one is that of before the run.
        let first = self.records.used.contains(&id);
        let new = if first { Name { maker: None, nth: 0 } } else { Name { maker: Some(request), nth } };
        let name = *self.names.entry(id).or_insert(new);
        self.announced[request] = Some(Access { call, name });
    }

    fn carry_out<R>(
        &mut self,
        request: usize,
        call: Call,
        effect: impl Fn(&mut Records) -> Result<R, StoreError>,
    ) -> Result<R, StoreError> {
        self.announced[request] = None;
        let number = self.calls[request];
        self.calls[request] += 1;
        let fault = self.faults.iter().find(|fault| (fault.request, fault.call) == (request, number));
        let Some(fault) = fault else { return effect(&mut self.records) };
        self.happened += 1;
        let why = match fault.kind {
            FaultKind::Refused => "it was refused",
            FaultKind::AnswerLost => {
                self.redundant |= call == Call::Load;
                // Whatever it says, nobody hears it.
                let _ = effect(&mut self.records);
                "its answer was lost"
            }
        };
        Err(StoreError::unavailable("do as planned", why))
    }
}

impl Records {
    fn load(&self, id: &RecordId) -> Option<&Record> {
        let now = OffsetDateTime::now_utc() + self.passed;
        self.live.get(id).filter(|record| now < record.expires_at)
    }

    fn save(&mut self, record: &Record, expect: Expect) -> Result<(), StoreError> {
        let expected = match expect {
            Expect::Absent => None,
            Expect::Version(version) => Some(version),
        };
        if self.load(&record.id).map(|live| live.version) != expected {
            return Err(StoreError::conflict());
        }
        self.repeated |= !self.used.insert(record.id) && expected.is_none();
        self.live.insert(record.id, record.clone());
        Ok(())
    }

    fn touch(&mut self, id: &RecordId, version: u64, expires_at: OffsetDateTime) {
        if self.load(id).is_some_and(|live| live.version == version)
            && let Some(live) = self.live.get_mut(id)
        {
            live.expires_at = expires_at;
        }
    }

    fn delete(&mut self, id: &RecordId, expected: Option<u64>) -> Result<(), StoreError> {
        if expected.is_some() && self.load(id).map(|live| live.version) != expected {
            return Err(StoreError::conflict());
        }
        self.live.remove(id);
        Ok(())
    }
}

impl Store for SteppingStore {
    fn load<'a>(
        &'a self,
        id: &'a RecordId,
        _at_least: u64,
    ) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        self.step(Call::Load, id, |records| Ok(records.load(id).cloned()))
    }

    fn save<'a>(&'a self, record: &'a Record, expect: Expect) -> BoxFuture<'a, Result<(), StoreError>> {
        let call = if expect == Expect::Absent { Call::Insert } else { Call::Update };
        self.step(call, &record.id, move |records| records.save(record, expect))
    }

    fn touch<'a>(
        &'a self,
        id: &'a RecordId,
        version: u64,
        expires_at: OffsetDateTime,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.step(Call::Touch, id, move |records| {
            records.touch(id, version, expires_at);
            Ok(())
        })
    }

    fn delete<'a>(
        &'a self,
        id: &'a RecordId,
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.step(Call::Delete, id, move |records| records.delete(id, expected))
    }
}
