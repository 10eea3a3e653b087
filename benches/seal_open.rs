//! Sealing and opening beside `cookie`'s private jar and beside the bare primitives.
//!
//! `cargo bench --bench seal_open` gives criterion's figures, and then a table of ratios from paired slices (see
//! `paired`), with the targets that they are held to; `cargo bench --bench seal_open -- --table` gives the table alone.

mod contenders;
mod paired;
mod samples;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use contenders::{Contender, Hardtack, Primitives, PrivateJar, value_len};
use criterion::{BenchmarkId, Criterion};
use paired::{Timed, ratios};
use samples::{Cart, Login, Oidc, Sample};

fn main() {
    // `cargo bench` says `--bench`; `cargo test --benches` does not, and wants to know only whether this runs.
    let (bench, own): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|argument| argument == "--bench");
    let only_table = own == ["--table"];
    let contests = [Contest::new::<Login>(), Contest::new::<Cart>(), Contest::new::<Oidc>()];
    if !only_table {
        let mut criterion = Criterion::default().configure_from_args();
        micro(&mut criterion, &contests);
        criterion.final_summary();
    }
    // A filter or a setting is meant for criterion.
    if only_table || (own.is_empty() && !bench.is_empty()) {
        table(&contests);
    }
}

/// One value, and everything that seals and opens it.
struct Contest {
    sample: &'static str,
    hardtack: Box<dyn Contender>,
    uncompressed: Box<dyn Contender>,
    jar: Box<dyn Contender>,
    primitives: Box<dyn Contender>,
}

impl Contest {
    fn new<T: Sample>() -> Self {
        let value = T::load();
        Self {
            sample: T::NAME,
            hardtack: Box::new(Hardtack::new(&value)),
            uncompressed: Box::new(Hardtack::uncompressed(&value)),
            jar: Box::new(PrivateJar::new(&value)),
            primitives: Box::new(Primitives::new(&value)),
        }
    }

    fn contenders(&self) -> [(&'static str, &dyn Contender); 4] {
        [
            ("hardtack", &*self.hardtack),
            (UNCOMPRESSED, &*self.uncompressed),
            ("private jar", &*self.jar),
            ("primitives", &*self.primitives),
        ]
    }
}

const UNCOMPRESSED: &str = "hardtack, uncompressed";

/// One of the two directions.
struct Operation {
    name: &'static str,
    run: fn(&dyn Contender),
}

const SEAL: Operation = Operation { name: "seal", run: |contender| contender.seal() };
const OPEN: Operation = Operation { name: "open", run: |contender| contender.open() };

/// What a client sends that is not to open, and the first seal of a session: login's.
fn login(change: impl FnOnce(Hardtack<Login>, &Login) -> Hardtack<Login>) -> Hardtack<Login> {
    let value = Login::load();
    change(Hardtack::new(&value), &value)
}

fn micro(criterion: &mut Criterion, contests: &[Contest]) {
    for operation in [&SEAL, &OPEN] {
        let mut group = criterion.benchmark_group(operation.name);
        for contest in contests {
            for (name, contender) in contest.contenders() {
                let id = BenchmarkId::new(name, contest.sample);
                group.bench_function(id, |bencher| bencher.iter(|| (operation.run)(contender)));
            }
        }
        group.finish();
    }
    let mut group = criterion.benchmark_group("refuse");
    for (name, refusing) in
        [("forged", login(|it, _| it.forged())), ("unknown key", login(Hardtack::foreign))]
    {
        group.bench_function(name, |bencher| bencher.iter(|| refusing.open()));
    }
    group.finish();
}

/// Prints the ratios, and whether they are what they should be.
fn table(contests: &[Contest]) {
    let mut run = Run::default();
    println!("\nTimes are medians of ratios from paired slices; control is the baseline against itself.\n");
    println!(
        "{:<8}{:<5}{:<23}{:>6}{:>8}{:>8}{:>8}{:>8}{:>6}{:>7}{:>6}   allocations: its, the jar's,",
        "sample", "", "", "time", "control", "time", "control", "value", "of", "line", "of"
    );
    println!(
        "{:<36}{:>6}{:>8}{:>8}{:>8}{:>8}{:>6}{:>7}{:>6}   the primitives'",
        "", "/ jar", "", "/ prim.", "", "chars", "jar's", "octets", "jar's"
    );
    for contest in contests {
        for operation in [&SEAL, &OPEN] {
            run.rows(contest, operation);
        }
    }
    let (forged, foreign, beginning) = run.login_only(&contests[0]);
    println!("\nlogin: a forged token takes {forged:.2} of an open, one under an unknown key {foreign:.2}.");
    println!("login: the first seal of a session takes {beginning:.2} of a later one.\n");
    run.targets(forged, foreign);
    run.verdict();
}

/// What was measured.
#[derive(Default)]
struct Run {
    rows: Vec<Row>,
    controls: Vec<f64>,
}

struct Row {
    sample: &'static str,
    operation: &'static str,
    contender: &'static str,
    /// Times and characters as multiples of the private jar's, time also of the primitives'.
    of_jar: f64,
    of_primitives: f64,
    chars_of_jar: f64,
    line: usize,
}

impl Run {
    /// Measures and prints hardtack's two rows of a sample and a direction.
    fn rows(&mut self, contest: &Contest, operation: &Operation) {
        let run = operation.run;
        let [hardtack, uncompressed, jar, primitives] =
            contest.contenders().map(|(_, contender)| Timed::new(move || run(contender)));
        let [jar_control, of_jar @ ..] = ratios(&jar, [&jar, &hardtack, &uncompressed]);
        let [primitives_control, of_primitives @ ..] =
            ratios(&primitives, [&primitives, &hardtack, &uncompressed]);
        self.controls.extend([jar_control, primitives_control]);

        let allocations = contest.contenders().map(|(_, contender)| COUNTING.during(|| run(contender)));
        let jar = contest.jar.line();
        for (index, (name, contender)) in contest.contenders().into_iter().take(2).enumerate() {
            let line = contender.line();
            let row = Row {
                sample: contest.sample,
                operation: operation.name,
                contender: name,
                of_jar: of_jar[index],
                of_primitives: of_primitives[index],
                chars_of_jar: share(value_len(line), value_len(jar)),
                line: line.len(),
            };
            println!(
                "{:<8}{:<5}{:<23}{:>6.2}{:>8.2}{:>8.2}{:>8.2}{:>8}{:>6.2}{:>7}{:>6.2}   {} {} {}",
                row.sample,
                row.operation,
                row.contender,
                row.of_jar,
                jar_control,
                row.of_primitives,
                primitives_control,
                value_len(line),
                row.chars_of_jar,
                row.line,
                share(row.line, jar.len()),
                allocations[index],
                allocations[2],
                allocations[3],
            );
            self.rows.push(row);
        }
    }

    /// A forged token and one under an unknown key as shares of an open, and a session's first seal as one of a later.
    fn login_only(&mut self, login_contest: &Contest) -> (f64, f64, f64) {
        let (forged, foreign) = (login(|it, _| it.forged()), login(Hardtack::foreign));
        let beginning = login(|it, _| it.beginning());
        let open = Timed::new(|| login_contest.hardtack.open());
        let [control, forged, foreign] =
            ratios(&open, [&open, &Timed::new(|| forged.open()), &Timed::new(|| foreign.open())]);
        let seal = Timed::new(|| login_contest.hardtack.seal());
        let [seal_control, beginning] = ratios(&seal, [&seal, &Timed::new(|| beginning.seal())]);
        self.controls.extend([control, seal_control]);
        (forged, foreign, beginning)
    }

    fn row(&self, sample: &str, operation: &Operation, contender: &str) -> &Row {
        let wanted = (sample, operation.name, contender);
        let found = self.rows.iter().find(|row| (row.sample, row.operation, row.contender) == wanted);
        found.expect("every combination was measured")
    }

    fn targets(&self, forged: f64, foreign: f64) {
        let default = |sample, operation| self.row(sample, operation, "hardtack");
        let plain = |sample, operation| self.row(sample, operation, UNCOMPRESSED);
        target("login, seal: time of the jar's", default("login", &SEAL).of_jar, 0.75);
        target("login, open: time of the jar's", default("login", &OPEN).of_jar, 0.60);
        target("login: characters of the jar's", default("login", &SEAL).chars_of_jar, 0.92);
        target("cart-20 uncompressed, seal: time of the jar's", plain("cart-20", &SEAL).of_jar, 0.5);
        target("cart-20 uncompressed, open: time of the jar's", plain("cart-20", &OPEN).of_jar, 0.5);
        target("cart-20 compressed: characters of the jar's", default("cart-20", &SEAL).chars_of_jar, 0.3);
        // That it is one cookie in the default budget was asserted when the contender was made.
        let budget = hardtack::Budget::default().total();
        let octets = "Set-Cookie: \r\n".len() + default("oidc", &SEAL).line;
        target("oidc: share of the default budget, in one cookie", share(octets, budget), 1.0);
        for sample in [Login::NAME, Cart::NAME, Oidc::NAME] {
            for operation in [&SEAL, &OPEN] {
                let what = format!("{sample} uncompressed, {}: time of the primitives'", operation.name);
                target(&what, plain(sample, operation).of_primitives, 1.3);
            }
        }
        target("login, forged: time of an open's", forged, 0.6);
        target("login, unknown key: time of an open's", foreign, 0.15);
    }

    /// Says so if the machine was too restless for any of it to be believed.
    fn verdict(&self) {
        let worst = self.controls.iter().map(|control| (control - 1.0).abs()).fold(0.0, f64::max);
        if worst <= 0.05 {
            println!("\nEvery control is within {worst:.3} of 1.");
        } else {
            println!(
                "\n*** THIS RUN SAYS NOTHING: a control is {worst:.3} away from 1, and 0.05 is allowed. ***"
            );
        }
    }
}

fn target(what: &str, measured: f64, most: f64) {
    let verdict = if measured <= most { "holds" } else { "FAILS" };
    println!("{verdict}  {what:<52} {measured:.2}, at most {most:.2}");
}

#[expect(clippy::cast_precision_loss, reason = "octets of a header")]
fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

/// The system's allocator, which counts how often it is asked for memory.
struct Counting(AtomicUsize);

#[global_allocator]
static COUNTING: Counting = Counting(AtomicUsize::new(0));

impl Counting {
    fn count(&self) {
        // Nothing else runs while this is read, so it need not be exact between threads, and costs almost nothing.
        self.0.store(self.0.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// The allocations of one run.
    fn during(&self, run: impl Fn()) -> usize {
        run();
        let before = self.0.load(Ordering::Relaxed);
        run();
        self.0.load(Ordering::Relaxed) - before
    }
}

// SAFETY: each call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.count();
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract, and the pointer is from the same allocator.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.count();
        // SAFETY: the caller keeps `realloc`'s contract, and the pointer is from the same allocator.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
