//! Ratios of times on a machine whose speed changes from one moment to the next.
//!
//! What is compared runs in turn, in slices too short for the speed to change within them, and each slice of a contender
//! is divided by the mean of the two slices of the baseline that it stands between. The median of many such ratios is
//! what a run says; the baseline measured against itself says whether the run says anything.

use std::time::{Duration, Instant};

/// How long a slice takes, roughly: less than a scheduler's own slice, so that most of them are not interrupted.
const SLICE: Duration = Duration::from_micros(250);

/// How many slices each contender gets.
const PAIRS: usize = 801;

/// Something whose time is taken.
pub(crate) struct Timed<'a> {
    run: Box<dyn Fn() + 'a>,
    /// How often it runs in a slice.
    runs: u32,
}

impl<'a> Timed<'a> {
    pub(crate) fn new(run: impl Fn() + 'a) -> Self {
        let mut timed = Self { run: Box::new(run), runs: 1 };
        while timed.undisturbed() < SLICE {
            timed.runs = timed.runs * 5 / 4 + 1;
        }
        timed
    }

    /// The shortest of a few times: what disturbs a run only makes it longer.
    fn undisturbed(&self) -> Duration {
        (0..5).map(|_| self.time()).min().unwrap_or_default()
    }

    /// The seconds of one run, from a slice of them.
    fn slice(&self) -> f64 {
        // What ran before has the caches; a few runs take them back.
        (0..=self.runs / 16).for_each(|_| (self.run)());
        self.time().as_secs_f64() / f64::from(self.runs)
    }

    fn time(&self) -> Duration {
        let start = Instant::now();
        (0..self.runs).for_each(|_| (self.run)());
        start.elapsed()
    }
}

/// Each contender's time as a multiple of the baseline's.
pub(crate) fn ratios<const N: usize>(baseline: &Timed, contenders: [&Timed; N]) -> [f64; N] {
    let mut ratios = [const { Vec::new() }; N];
    let mut before = baseline.slice();
    for _ in 0..PAIRS {
        for (contender, ratios) in contenders.iter().zip(&mut ratios) {
            let slice = contender.slice();
            let after = baseline.slice();
            ratios.push(2.0 * slice / (before + after));
            before = after;
        }
    }
    ratios.map(median)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
