//! All runs of some requests, with every order of their steps, every loss of their responses and every fault of the store.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::event;
use crate::explorer::Explorer;
use crate::history::History;
use crate::properties::{MAX_CALLS, PROPERTIES};
use crate::stepping::{Fault, FaultKind};
use crate::tally::Tally;
use crate::visit::Deed;
use crate::world::{Start, World};

/// What was found.
#[derive(Default)]
pub(crate) struct Survey {
    /// Of the runs in which the store did not fail.
    pub(crate) sound: Tally,
    /// Of those in which it did.
    pub(crate) faulty: Tally,
    /// By the sentence that does not hold: in how many runs, and the first of them.
    broken: BTreeMap<&'static str, (usize, String)>,
}

impl Survey {
    /// Explores these requests, with at most so many faults of the store.
    pub(crate) fn explore(&mut self, world: &World, deeds: &[Deed], faults: usize) {
        self.explore_with(world, deeds, &mut Vec::new(), faults);
    }

    /// With these faults, and up to `more` later ones. Whether these can happen at all.
    fn explore_with(&mut self, world: &World, deeds: &[Deed], faults: &mut Vec<Fault>, more: usize) -> bool {
        let mut explorer = Explorer::reduced();
        let mut happen = false;
        loop {
            if let Some(history) = world.run(deeds, faults, &mut explorer) {
                happen = true;
                self.check(world.start, faults, &history);
            }
            if !explorer.advance() {
                break;
            }
        }
        let (first, next) = faults.last().map_or((0, 0), |last| (last.request, last.call + 1));
        for request in (first..deeds.len()).filter(|_| happen && more > 0) {
            for call in if request == first { next } else { 0 }..MAX_CALLS {
                let happened = [FaultKind::Refused, FaultKind::AnswerLost].map(|kind| {
                    faults.push(Fault { request, call, kind });
                    let happened = self.explore_with(world, deeds, faults, more - 1);
                    faults.pop();
                    happened
                });
                if happened == [false, false] {
                    break;
                }
            }
        }
        happen
    }

    fn check(&mut self, start: Start, faults: &[Fault], history: &History) {
        let tally = if faults.is_empty() { &mut self.sound } else { &mut self.faulty };
        tally.count(history);
        for (sentence, holds) in PROPERTIES {
            if !holds(history) {
                let broken =
                    self.broken.entry(sentence).or_insert_with(|| (0, story(start, faults, history)));
                broken.0 += 1;
            }
        }
    }

    /// Fails with every sentence that does not hold, and a run that shows it.
    #[track_caller]
    pub(crate) fn holds(&self) {
        let mut report = String::new();
        for (sentence, (runs, story)) in &self.broken {
            let _ =
                writeln!(report, "\nIn {runs} runs it does not hold that {sentence}. The first:\n{story}");
        }
        assert!(report.is_empty(), "{report}");
    }
}

/// A run, told from its beginning.
fn story(start: Start, faults: &[Fault], history: &History) -> String {
    let deeds: Vec<_> = history.requests.iter().map(|request| request.deed).collect();
    format!("  {start:?}, {deeds:?}, {faults:?}\n  {}\n{}", event::told(&history.events), history.outcome())
}
