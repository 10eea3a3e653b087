//! Every order of the steps of several processes, one run after the other.
//!
//! A run asks [`Explorer::choose`] which of the steps that are possible now shall be next. Depth first, each run repeats
//! the choices of the one before up to the last that has an alternative, and takes that.
//!
//! Two steps that do not depend on each other lead to the same state in either order, so one order is enough: a step that
//! was explored sleeps in the runs that take another one first, until one is taken that it depends on (sleep sets:
//! Godefroid, "Partial-Order Methods for the Verification of Concurrent Systems", 1996, chapter 5). For that a process
//! must be a function of what its own steps showed it.

use std::fmt::Debug;

/// What a process may do next.
pub(crate) trait Step: Copy + Debug + PartialEq {
    /// Whether the order of the two can matter to anyone.
    fn depends_on(&self, other: &Self) -> bool;
}

/// The choices of a run, and what is left of their alternatives.
pub(crate) struct Explorer<S> {
    path: Vec<Choice<S>>,
    /// How many of them this run has made.
    made: usize,
    reduce: bool,
}

struct Choice<S> {
    possible: Vec<S>,
    /// What was explored from here, or from before in either order.
    asleep: Vec<S>,
    taken: S,
}

impl<S: Step> Explorer<S> {
    /// One of each set of orders that differ in steps that do not depend on each other.
    pub(crate) fn reduced() -> Self {
        Self { path: Vec::new(), made: 0, reduce: true }
    }

    /// Each order there is.
    pub(crate) fn unreduced() -> Self {
        Self { reduce: false, ..Self::reduced() }
    }

    /// The next step of this run, among those that are `possible`. `None` if an earlier run went on from here, but for
    /// the order of what does not matter.
    pub(crate) fn choose(&mut self, possible: Vec<S>) -> Option<S> {
        if let Some(choice) = self.path.get(self.made) {
            assert_eq!(choice.possible, possible, "the same choices lead to the same state");
        } else {
            let asleep = self.path.last().map_or_else(Vec::new, |before| {
                let sleeps = |step: &&S| self.reduce && !step.depends_on(&before.taken);
                before.asleep.iter().filter(sleeps).copied().collect()
            });
            let taken = *possible.iter().find(|step| !asleep.contains(step))?;
            self.path.push(Choice { possible, asleep, taken });
        }
        self.made += 1;
        Some(self.path[self.made - 1].taken)
    }

    /// Goes back to the last choice that has an alternative, for another run. `false` if there is none.
    pub(crate) fn advance(&mut self) -> bool {
        self.made = 0;
        while let Some(choice) = self.path.last_mut() {
            choice.asleep.push(choice.taken);
            if let Some(next) = choice.possible.iter().find(|step| !choice.asleep.contains(step)) {
                choice.taken = *next;
                return true;
            }
            self.path.pop();
        }
        false
    }
}
