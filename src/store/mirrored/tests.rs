//! A model of several nodes over the same mirrors, each of whose calls is held until a seeded scheduler lets it through,
//! fails it, or lets it take effect and loses its answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use time::OffsetDateTime;
use tokio::sync::oneshot;

use super::cell::Value;
use super::change::Change;
use super::mirror::Mirror;
use super::register::{Reading, Register};
use crate::random::{NoRandom, Random};
use crate::store::{BoxFuture, Expect, MemoryStore, Record, RecordId, Store, StoreError};

const ID: RecordId = RecordId::from_bytes([7; 16]);

/// Runs of each shape; with `MIRRORED_RUNS`, as many as it says.
const RUNS: u64 = 400;

#[test]
fn three_mirrors_keep_what_they_acknowledge() {
    explore(Shape { mirrors: 3, quorum: 2, nodes: 3, steps: 5 });
}

#[test]
fn two_mirrors_of_which_both_must_hold_a_save_keep_what_they_acknowledge() {
    explore(Shape { mirrors: 2, quorum: 2, nodes: 3, steps: 5 });
}

#[test]
fn five_mirrors_keep_what_they_acknowledge() {
    explore(Shape { mirrors: 5, quorum: 3, nodes: 3, steps: 4 });
}

#[test]
fn a_quorum_above_the_majority_keeps_what_it_acknowledges() {
    explore(Shape { mirrors: 4, quorum: 3, nodes: 4, steps: 4 });
}

/// What is below half is documented to lose states in a partition; without failures it must not.
#[test]
fn a_quorum_of_one_keeps_what_it_acknowledges_while_all_mirrors_answer() {
    for seed in 0..runs() {
        run(Shape { mirrors: 2, quorum: 1, nodes: 3, steps: 4 }, seed, 0);
    }
}

#[derive(Clone, Copy)]
struct Shape {
    mirrors: usize,
    quorum: usize,
    nodes: usize,
    steps: usize,
}

/// Runs with no failures, with few, and with many.
fn explore(shape: Shape) {
    for seed in 0..runs() {
        run(shape, seed, [0, 5, 15, 30][usize::try_from(seed % 4).expect("below four")]);
    }
}

fn runs() -> u64 {
    std::env::var("MIRRORED_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(RUNS)
}

/// One schedule, in which `percent` of all calls fail.
fn run(shape: Shape, seed: u64, percent: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        runtime.expect("a runtime").block_on(scheduled(shape, seed, percent));
    }));
    if let Err(panic) = outcome {
        eprintln!("with seed {seed} and {percent} percent of failures");
        std::panic::resume_unwind(panic);
    }
}

async fn scheduled(shape: Shape, seed: u64, percent: u64) {
    let mut random = Seeded(seed);
    let gate = Gate::default();
    let stores: Vec<_> = (0..shape.mirrors).map(|_| Arc::new(MemoryStore::with_capacity(1 << 20))).collect();
    let history = Arc::new(Mutex::new(History::default()));
    let first = node(&stores, None, shape.quorum, seed);
    // Records are not always made at version 0: a session may have lived in cookies before.
    let made = seed % 3;
    first.save(ID, value(&first, made), Expect::Absent).await.expect("all mirrors are well");
    history.lock().expect("no test panics with it").learn(made, &made.to_string());

    let mut nodes: Vec<_> = (0..shape.nodes)
        .map(|number| {
            let register = node(&stores, Some(&gate), shape.quorum, random.next());
            let random = Seeded(random.next());
            tokio::spawn(visit(register, number, shape.steps, made, random, history.clone()))
        })
        .collect();
    // Which node does not reach which mirror changes now and then.
    let mut cut: Vec<(usize, bool)> = Vec::new();
    while !nodes.iter().all(tokio::task::JoinHandle::is_finished) {
        settle().await;
        if random.below(40) == 0 {
            cut = (0..shape.mirrors).map(|mirror| (mirror, percent > 0 && random.below(4) == 0)).collect();
        }
        let Some(held) = gate.pick(&mut random) else {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            continue;
        };
        // Where a minority may save, a slow call counts as a failed one.
        if random.below(8) == 0 && 2 * shape.quorum > shape.mirrors {
            // Those who wait lose their patience; the call goes on.
            tokio::time::advance(std::time::Duration::from_millis(60)).await;
        }
        let fails = cut.iter().any(|&(mirror, is_cut)| is_cut && mirror == held.mirror);
        let fate = match random.below(100) {
            _ if fails => Fate::Fails,
            dice if dice >= percent => Fate::Passes,
            dice if dice % 2 == 0 => Fate::Fails,
            _ => Fate::LosesItsAnswer,
        };
        let _ = held.fate.send(fate);
    }
    for node in nodes.drain(..) {
        if let Err(panic) = node.await {
            std::panic::resume_unwind(panic.into_panic());
        }
    }
    // What is still held is late, and arrives in any order.
    while let Some(held) = gate.pick(&mut random) {
        let _ = held.fate.send(Fate::Passes);
        settle().await;
    }
    let last = node(&stores, None, shape.quorum, !seed);
    for _ in 0..2 {
        let found = History::begin(&history);
        let reading = last.read(ID, 0).await.expect("all mirrors are well");
        history.lock().expect("no test panics with it").check(&found, &reading);
    }
}

/// Lets every task go on until it waits for the gate.
async fn settle() {
    for _ in 0..4 {
        tokio::task::yield_now().await;
    }
}

/// What one node does: reads, and then changes what it read, or does so on what it knew before.
async fn visit(
    register: Register,
    number: usize,
    steps: usize,
    made: u64,
    mut random: Seeded,
    history: Arc<Mutex<History>>,
) {
    let mut known: Option<u64> = Some(made);
    for step in 0..steps {
        if random.below(4) > 0 {
            let begun = History::begin(&history);
            // A cookie that was given out with an acknowledged save.
            let at_least = if random.below(2) == 0 { begun.acknowledged.unwrap_or(0) } else { 0 };
            let Ok(reading) = register.read(ID, at_least).await else { continue };
            history.lock().expect("no test panics with it").check(&begun, &reading);
            match reading {
                Reading::Settled(record) => known = record.map(|record| record.version),
                Reading::Proven(record) => assert!(record.version >= at_least, "older than what is proven"),
            }
        }
        let Some(version) = known else { return };
        match random.below(16) {
            0 => {
                let expected = (random.below(2) == 0).then_some(version);
                let end = Change::End { author: register.draw().expect("seeded"), expected };
                if register.change(ID, &end, None, None).await.is_ok() {
                    history.lock().expect("no test panics with it").end(expected);
                }
            }
            1 | 2 => {
                let expires_at = expiry() + time::Duration::minutes(i64::try_from(step).expect("few"));
                let _ = register.change(ID, &Change::Touch { version, expires_at }, None, None).await;
            }
            _ => {
                let to = version + 1 + u64::from(random.below(4) == 0);
                let next = value(&register, to);
                let content = format!("{to} by {number} in step {step}");
                let next = Value { sealed: Some(content.clone().into_bytes()), ..next };
                let begun = History::begin(&history);
                let saved = register.save(ID, next, Expect::Version(version)).await;
                let mut history = history.lock().expect("no test panics with it");
                match saved {
                    Ok(()) => {
                        assert!(!begun.ended, "a deleted record was saved");
                        history.acknowledge(version, to, &content);
                        known = Some(to);
                    }
                    Err(error) if error.is_conflict() => history.refuse(&content),
                    Err(_) => {}
                }
            }
        }
    }
}

/// What clients were told.
#[derive(Clone, Default)]
struct History {
    /// The newest version that was acknowledged.
    acknowledged: Option<u64>,
    ended: bool,
    /// The version at which it was deleted, where the deletion expected one.
    ended_at: Option<u64>,
    /// What each version is known to be, from an acknowledgement or a settled read.
    contents: HashMap<u64, String>,
    /// By what an acknowledged save replaced each version.
    successors: HashMap<u64, String>,
    refused: Vec<String>,
}

impl History {
    /// What was so when a read began.
    fn begin(history: &Arc<Mutex<Self>>) -> Self {
        history.lock().expect("no test panics with it").clone()
    }

    fn acknowledge(&mut self, replaced: u64, version: u64, content: &str) {
        self.learn(version, content);
        let other = self.successors.insert(replaced, content.to_owned());
        assert_eq!(other, None, "{content} replaced the same version");
        self.acknowledged = self.acknowledged.max(Some(version));
    }

    fn refuse(&mut self, content: &str) {
        assert!(
            self.contents.values().all(|known| known != content),
            "{content} was served, and then refused"
        );
        self.refused.push(content.to_owned());
    }

    fn end(&mut self, expected: Option<u64>) {
        self.ended = true;
        // Of two deletions that were asked for, only one found the record.
        assert!(expected.is_none() || self.ended_at.is_none(), "deleted twice");
        self.ended_at = self.ended_at.or(expected);
        self.contents.keys().for_each(|version| self.precedes_the_end(*version));
    }

    fn precedes_the_end(&self, version: u64) {
        assert!(self.ended_at.is_none_or(|ended| version <= ended), "version {version} after the end");
    }

    fn learn(&mut self, version: u64, content: &str) {
        self.precedes_the_end(version);
        assert!(!self.refused.iter().any(|refused| refused == content), "{content} was refused");
        let known = self.contents.entry(version).or_insert_with(|| content.to_owned());
        assert_eq!(known, content, "two records of version {version}");
    }

    /// `begun` is what was so before the read.
    fn check(&mut self, begun: &Self, reading: &Reading) {
        match reading {
            Reading::Settled(Some(record)) => {
                assert!(!begun.ended, "a deleted record came back at version {}", record.version);
                let newest = begun.contents.keys().max().copied();
                assert!(Some(record.version) >= newest, "version {} after {newest:?}", record.version);
                self.learn(record.version, std::str::from_utf8(&record.sealed).expect("text"));
            }
            // A deletion whose answer was lost counts.
            Reading::Settled(None) => self.ended = true,
            Reading::Proven(_) => {}
        }
    }
}

fn node(stores: &[Arc<MemoryStore>], gate: Option<&Gate>, quorum: usize, seed: u64) -> Register {
    let mirrors = stores.iter().enumerate().map(|(mirror, store)| {
        let store: Arc<dyn Store> = match gate {
            Some(gate) => Arc::new(Held { mirror, store: store.clone(), gate: gate.clone() }),
            None => store.clone(),
        };
        Arc::new(Mirror::new(store))
    });
    Register::new(mirrors.collect(), quorum, Box::new(Seeded(seed)))
}

fn value(register: &Register, version: u64) -> Value {
    let author = register.draw().expect("seeded");
    let sealed = Some(version.to_string().into_bytes());
    Value { author, position: 0, version, expires_at: expiry(), sealed }
}

fn expiry() -> OffsetDateTime {
    OffsetDateTime::now_utc() + time::Duration::HOUR
}

/// A mirror whose calls wait to be let through.
struct Held {
    mirror: usize,
    store: Arc<MemoryStore>,
    gate: Gate,
}

impl Held {
    async fn pass<R>(&self, call: BoxFuture<'_, Result<R, StoreError>>) -> Result<R, StoreError> {
        let fate = self.gate.wait(self.mirror).await;
        if matches!(fate, Fate::Fails) {
            return Err(StoreError::unavailable("reach a mirror", "it is down"));
        }
        let done = call.await;
        if matches!(fate, Fate::LosesItsAnswer) {
            return Err(StoreError::unavailable("hear from a mirror", "its answer was lost"));
        }
        done
    }
}

impl Store for Held {
    fn load<'a>(
        &'a self,
        id: &'a RecordId,
        at_least: u64,
    ) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        Box::pin(self.pass(self.store.load(id, at_least)))
    }

    fn save<'a>(&'a self, record: &'a Record, expect: Expect) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.pass(self.store.save(record, expect)))
    }

    fn touch<'a>(
        &'a self,
        id: &'a RecordId,
        version: u64,
        expires_at: OffsetDateTime,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.pass(self.store.touch(id, version, expires_at)))
    }

    fn delete<'a>(
        &'a self,
        id: &'a RecordId,
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(self.pass(self.store.delete(id, expected)))
    }
}

/// The calls that wait.
#[derive(Clone, Default)]
struct Gate(Arc<Mutex<Vec<Waiting>>>);

struct Waiting {
    mirror: usize,
    fate: oneshot::Sender<Fate>,
}

#[derive(Clone, Copy)]
enum Fate {
    Passes,
    Fails,
    LosesItsAnswer,
}

impl Gate {
    async fn wait(&self, mirror: usize) -> Fate {
        let (fate, decided) = oneshot::channel();
        self.0.lock().expect("no test panics with it").push(Waiting { mirror, fate });
        decided.await.unwrap_or(Fate::Fails)
    }

    fn pick(&self, random: &mut Seeded) -> Option<Waiting> {
        let mut waiting = self.0.lock().expect("no test panics with it");
        let any = random.below(waiting.len().max(1) as u64);
        (!waiting.is_empty()).then(|| waiting.swap_remove(usize::try_from(any).expect("an index")))
    }
}

/// Splitmix64: the same for the same seed.
struct Seeded(u64);

impl Seeded {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

impl Random for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NoRandom> {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}
