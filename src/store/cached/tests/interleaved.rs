//! Calls that overlap, in every order of their steps: the copy is never older than what an ended call has seen or done.
//! (A touch that came too late has done nothing, and is told nothing. The expiry that it would have set may show in the
//! copy for as long as the copy is served at all.)
//!
//! A call has three steps: it begins, the shared store acts, it ends. A future makes one of them each time that it is
//! polled. Some are dropped on the way, and the store may act when nobody waits for it any more.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::*;

/// What a call does. Before, the record is at version 1.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Deed {
    Load,
    /// Not content with any copy, like one for a newer cookie.
    LoadFurther,
    /// To version 2, with these sealed bytes.
    Save(u8),
    /// From version 2 to version 3.
    SaveAgain,
    /// At version 0, where there is none.
    Insert,
    /// At version 1, to an expiry in so many seconds.
    Touch(i64),
    Delete,
    DeleteAt,
    /// A save that this node learns nothing of.
    Elsewhere,
    Forget,
    ForgetAll,
}

impl Deed {
    /// Those that do not go through the node to the store only happen.
    fn only_happens(self) -> bool {
        matches!(self, Self::Elsewhere | Self::Forget | Self::ForgetAll)
    }

    fn steps(self) -> usize {
        if self.only_happens() { 1 } else { 3 }
    }

    fn fates(self) -> &'static [Fate] {
        let fates = &[Fate::Ends, Fate::DroppedAfterTheStoreActed, Fate::DroppedBeforeTheStoreActs];
        if self.only_happens() { &fates[..1] } else { fates }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Ends,
    DroppedAfterTheStoreActed,
    DroppedBeforeTheStoreActs,
}

#[test]
fn of_two_overlapping_calls_in_any_order_none_leaves_an_older_copy() {
    let deeds = [
        Deed::Load,
        Deed::LoadFurther,
        Deed::Save(1),
        Deed::Save(2),
        Deed::SaveAgain,
        Deed::Insert,
        Deed::Touch(60),
        Deed::Touch(7_200),
        Deed::Touch(-60),
        Deed::Delete,
        Deed::DeleteAt,
        Deed::Elsewhere,
        Deed::Forget,
        Deed::ForgetAll,
    ];
    let calls: Vec<_> =
        deeds.iter().flat_map(|deed| deed.fates().iter().map(|fate| (*deed, *fate))).collect();
    let world = World::new();
    for (place, one) in calls.iter().enumerate() {
        for two in &calls[place..] {
            for order in orders(&[one.0.steps(), two.0.steps()]) {
                for copy in [false, true] {
                    world.run(&[*one, *two], &order, copy);
                }
            }
        }
    }
    assert!(world.runs.get() > 20_000, "{} runs", world.runs.get());
}

#[test]
fn of_three_overlapping_calls_in_any_order_none_leaves_an_older_copy() {
    let deeds = [
        Deed::LoadFurther,
        Deed::LoadFurther,
        Deed::Save(1),
        Deed::SaveAgain,
        Deed::Insert,
        Deed::Delete,
        Deed::Elsewhere,
        Deed::Forget,
        Deed::ForgetAll,
    ];
    let world = World::new();
    for (first, one) in deeds.iter().enumerate() {
        for (second, two) in deeds.iter().enumerate().skip(first + 1) {
            for three in &deeds[second + 1..] {
                let calls = [*one, *two, *three];
                for order in orders(&calls.map(Deed::steps)) {
                    world.run(&calls.map(|deed| (deed, Fate::Ends)), &order, true);
                }
            }
        }
    }
    assert_eq!(world.runs.get(), 40_266);
}

#[test]
fn a_copy_is_served_while_a_save_is_under_way_and_the_saved_state_afterwards() {
    let world = World::new();
    let run = world.record(true);
    let before = run.copy();
    let mut save = pin!(run.call(Deed::Save(1)));
    for _ in 0..2 {
        assert_eq!(poll(save.as_mut()), None);
        assert_eq!(run.copy(), before);
    }
    assert!(poll(save.as_mut()).is_some());
    assert_eq!(run.copy().map(|copy| copy.version), Some(2));
}

#[test]
fn no_copy_is_served_while_a_deletion_is_under_way() {
    let world = World::new();
    let run = world.record(true);
    let mut delete = pin!(run.call(Deed::Delete));
    for _ in 0..3 {
        let _ = poll(delete.as_mut());
        assert_eq!(run.copy(), None);
    }
}

/// A page of many parts asks for them all at once when the copy has become too old.
#[test]
fn overlapping_calls_that_learn_the_same_leave_a_copy() {
    for deeds in [[Deed::LoadFurther; 2], [Deed::Touch(60); 2]] {
        let world = World::new();
        for order in orders(&[3, 3]) {
            let run = world.run(&deeds.map(|deed| (deed, Fate::Ends)), &order, true);
            assert!(run.copy().is_some(), "{deeds:?} in the order {order:?}");
        }
    }
}

#[test]
fn calls_for_other_records_do_not_keep_this_one_from_being_kept() {
    let world = World::new();
    let (run, other) = (world.record(false), world.record(true));
    let (mut load, mut delete) = (pin!(run.call(Deed::LoadFurther)), pin!(other.call(Deed::Delete)));
    for _ in 0..3 {
        let _ = (poll(delete.as_mut()), poll(load.as_mut()));
    }
    assert_eq!(run.copy(), run.state());
}

/// One node and its shared store.
struct World {
    node: CachedStore,
    shared: Arc<Stepping>,
    runs: Cell<u32>,
}

impl World {
    fn new() -> Self {
        let shared = Arc::new(Stepping::default());
        let node = CachedStore::new(shared.clone(), 1 << 20).fresh_for(Duration::MAX);
        Self { node, shared, runs: Cell::new(0) }
    }

    /// Another record at version 1, and whether the node has a copy of it.
    fn record(&self, copy: bool) -> Run<'_> {
        let number = self.runs.get();
        self.runs.set(number + 1);
        let id = RecordId::from_bytes(std::array::from_fn(|n| number.to_le_bytes()[n % 4]));
        let run = Run { world: self, id, history: RefCell::default(), missed: RefCell::default() };
        let first = run.saved(1, 0);
        finish(self.shared.records.save(&first, Expect::Absent)).expect("insert");
        run.note();
        if copy {
            let mut load = pin!(run.call(Deed::Load));
            while poll(load.as_mut()).is_none() {}
            assert_eq!(run.copy(), Some(first));
        }
        run
    }

    /// Makes the steps of the calls in this order, and looks at the copy after each.
    fn run(&self, calls: &[(Deed, Fate)], order: &[usize], copy: bool) -> Run<'_> {
        let run = self.record(copy);
        let mut futures: Vec<_> = calls.iter().map(|(deed, _)| Some(Box::pin(run.call(*deed)))).collect();
        let mut steps = vec![0_usize; calls.len()];
        // Places in the history: what each call has met, and what one that has ended has met.
        let mut met = vec![0; calls.len()];
        let mut least = 0;
        for &call in order {
            steps[call] += 1;
            let step = steps[call];
            let (deed, fate) = calls[call];
            let mut answer = None;
            match (fate, step) {
                (Fate::DroppedAfterTheStoreActed, 3) | (Fate::DroppedBeforeTheStoreActs, 2) => {
                    futures[call] = None;
                }
                (Fate::DroppedBeforeTheStoreActs, 3) => {
                    let _ = finish(run.carry_out(&self.shared.records, deed));
                }
                _ => answer = futures[call].as_mut().and_then(|future| poll(future.as_mut())),
            }
            let changed = run.note();
            match deed {
                Deed::Touch(seconds) if step == 2 && !changed => run.missed.borrow_mut().push(after(seconds)),
                _ if step == 2 || deed.only_happens() => met[call] = run.latest(),
                _ => {}
            }
            let story = || format!("{calls:?} in the order {order:?}, copy before: {copy}, at {steps:?}");
            if let Some(answer) = answer {
                futures[call] = None;
                if let (1, Some(served)) = (step, answer) {
                    least = run.place(&served, least).unwrap_or_else(|| panic!("served: {}", story()));
                } else if deed != Deed::Elsewhere {
                    least = least.max(met[call]);
                }
            }
            if let Some(copy) = run.copy() {
                assert!(run.place(&copy, least).is_some(), "an older copy: {}", story());
            }
        }
        drop(futures);
        run
    }
}

/// One record, and the calls for it.
struct Run<'a> {
    world: &'a World,
    id: RecordId,
    /// All its states, one after the other.
    history: RefCell<Vec<Option<Record>>>,
    /// The expiries that touches did not set.
    missed: RefCell<Vec<OffsetDateTime>>,
}

impl Run<'_> {
    /// A call through the node. What it answers is the record that a load found.
    async fn call(&self, deed: Deed) -> Option<Record> {
        match deed {
            Deed::Elsewhere => self.carry_out(&self.world.shared.records, deed).await.ok()?,
            Deed::Forget => {
                self.world.node.forget(&self.id);
                None
            }
            Deed::ForgetAll => {
                self.world.node.forget_all();
                None
            }
            // A refusal ends a call as well as anything else.
            _ => self.carry_out(&self.world.node, deed).await.ok()?,
        }
    }

    async fn carry_out(&self, store: &dyn Store, deed: Deed) -> Result<Option<Record>, StoreError> {
        match deed {
            Deed::Load => return store.load(&self.id, 0).await,
            Deed::LoadFurther => return store.load(&self.id, u64::MAX).await,
            Deed::Save(sealed) => store.save(&self.saved(2, sealed), Expect::Version(1)).await?,
            Deed::Elsewhere => store.save(&self.saved(2, 9), Expect::Version(1)).await?,
            Deed::SaveAgain => store.save(&self.saved(3, 0), Expect::Version(2)).await?,
            Deed::Insert => store.save(&self.saved(0, 0), Expect::Absent).await?,
            Deed::Touch(seconds) => store.touch(&self.id, 1, after(seconds)).await?,
            Deed::Delete => store.delete(&self.id, None).await?,
            Deed::DeleteAt => store.delete(&self.id, Some(1)).await?,
            Deed::Forget | Deed::ForgetAll => {}
        }
        Ok(None)
    }

    fn saved(&self, version: u64, sealed: u8) -> Record {
        Record { id: self.id, sealed: vec![sealed], ..record(version) }
    }

    /// What the node would serve to whoever is content with any version.
    fn copy(&self) -> Option<Record> {
        self.world.node.current(&self.id, 0).map(|copy| copy.into_record(self.id))
    }

    /// What the shared store has.
    fn state(&self) -> Option<Record> {
        finish(self.world.shared.records.load(&self.id, 0)).expect("load")
    }

    /// Whether the state has changed.
    fn note(&self) -> bool {
        let state = self.state();
        let changed = self.history.borrow().last() != Some(&state);
        if changed {
            self.history.borrow_mut().push(state);
        }
        changed
    }

    fn latest(&self) -> usize {
        self.history.borrow().len() - 1
    }

    /// From the place `least` on, the first at which this was the state.
    fn place(&self, record: &Record, least: usize) -> Option<usize> {
        let (history, missed) = (self.history.borrow(), self.missed.borrow());
        let is_record = |state: &Record| {
            let expires_at = record.expires_at;
            let expiry = state.expires_at == expires_at || missed.contains(&expires_at);
            expiry && *record == Record { expires_at, ..state.clone() }
        };
        (least..history.len()).find(|place| history[*place].as_ref().is_some_and(is_record))
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        finish(self.world.shared.records.delete(&self.id, None)).expect("delete");
    }
}

/// A store that begins, acts and ends one step at a time.
#[derive(Default)]
struct Stepping {
    records: MemoryStore,
}

impl Stepping {
    fn call<'a, R: Send + 'a>(act: BoxFuture<'a, R>) -> BoxFuture<'a, R> {
        Box::pin(async move {
            step().await;
            let done = act.await;
            step().await;
            done
        })
    }
}

impl Store for Stepping {
    fn load<'a>(
        &'a self,
        id: &'a RecordId,
        at_least: u64,
    ) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        Self::call(self.records.load(id, at_least))
    }

    fn save<'a>(&'a self, record: &'a Record, expect: Expect) -> BoxFuture<'a, Result<(), StoreError>> {
        Self::call(self.records.save(record, expect))
    }

    fn touch<'a>(
        &'a self,
        id: &'a RecordId,
        version: u64,
        expires_at: OffsetDateTime,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Self::call(self.records.touch(id, version, expires_at))
    }

    fn delete<'a>(
        &'a self,
        id: &'a RecordId,
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Self::call(self.records.delete(id, expected))
    }
}

/// So many seconds after this test began.
fn after(seconds: i64) -> OffsetDateTime {
    in_an_hour() - Span::HOUR + Span::seconds(seconds)
}

/// Every order of so many steps of each call.
fn orders(left: &[usize]) -> Vec<Vec<usize>> {
    if left.iter().all(|steps| *steps == 0) {
        return vec![Vec::new()];
    }
    let mut found = Vec::new();
    for call in (0..left.len()).filter(|call| left[*call] > 0) {
        let mut rest = left.to_vec();
        rest[call] -= 1;
        found.extend(orders(&rest).into_iter().map(|order| [vec![call], order].concat()));
    }
    found
}

/// Waits until it is polled once more.
async fn step() {
    let mut waited = false;
    poll_fn(|_| if std::mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

/// What a future that has nothing to wait for comes to.
fn finish<F: Future>(future: F) -> F::Output {
    poll(pin!(future)).expect("it has nothing to wait for")
}
