//! Visitors who shop all at once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::tally::Tally;
use crate::visitor::{Kept, Visitor};

/// Visitors, at rest or at work.
pub(crate) struct Load {
    visitors: Vec<Visitor>,
    at_work: JoinSet<Visitor>,
    stop: Arc<AtomicBool>,
    progress: watch::Receiver<Progress>,
}

impl Load {
    pub(crate) fn new(visitors: usize, kept: Kept, port: u16) -> Self {
        let (reports, progress) = watch::channel(Progress::default());
        let visitors =
            (0..visitors).map(|number| Visitor::new(number, kept, port, reports.clone())).collect();
        Self { visitors, at_work: JoinSet::new(), stop: Arc::default(), progress }
    }

    /// Lets them go.
    pub(crate) fn start(&mut self) {
        self.stop.store(false, Ordering::Relaxed);
        for visitor in self.visitors.drain(..) {
            self.at_work.spawn(visitor.shop(self.stop.clone()));
        }
    }

    /// Waits until they have made so many more requests.
    pub(crate) async fn makes(&mut self, requests: usize) {
        let goal = self.progress.borrow().requests + requests;
        self.progress.wait_for(|progress| progress.requests >= goal).await.expect("the visitors are there");
    }

    /// Waits until one of them has been served by this node.
    pub(crate) async fn reaches(&mut self, node: &str) {
        self.progress
            .wait_for(|progress| progress.nodes.contains(node))
            .await
            .expect("the visitors are there");
    }

    /// Lets them finish what they are at, and waits until everybody is served again. What they have met since
    /// [`start`](Self::start).
    pub(crate) async fn settles(&mut self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(visitor) = self.at_work.join_next().await {
            self.visitors.push(visitor.expect("visitors do not panic"));
        }
        let mut rounds = 0;
        while !self.are_all_served().await {
            rounds += 1;
            assert!(rounds < ROUNDS, "not everybody is served after {ROUNDS} rounds");
        }
        let mut tally = Tally::default();
        for visitor in &mut self.visitors {
            tally += std::mem::take(&mut visitor.tally);
        }
        tally
    }

    /// Whether nothing fails while everybody is served once, all at the same time.
    async fn are_all_served(&mut self) -> bool {
        let mut serving = JoinSet::new();
        for mut visitor in self.visitors.drain(..) {
            serving.spawn(async move { (visitor.is_served().await, visitor) });
        }
        let mut all = true;
        while let Some(served) = serving.join_next().await {
            let (served, visitor) = served.expect("visitors do not panic");
            all &= served;
            self.visitors.push(visitor);
        }
        all
    }
}

/// What all visitors have done so far.
#[derive(Default)]
pub(crate) struct Progress {
    pub(crate) requests: usize,
    /// The nodes that have answered.
    pub(crate) nodes: BTreeSet<String>,
}

/// After so many failures the fleet has not recovered.
const ROUNDS: usize = 20;
