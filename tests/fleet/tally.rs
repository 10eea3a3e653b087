//! What is counted, and the table of it.

use std::fmt::{self, Display, Formatter};
use std::ops::AddAssign;
use std::time::Duration;

use crate::fleet::Topology;

/// What visitors met during an event.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) requests: usize,
    /// Answered by a 5xx, or not at all.
    pub(crate) failed: usize,
    /// Sent to another node by nginx, so that nobody saw that the first one failed.
    pub(crate) hidden: usize,
    /// Refused because another request of the same visitor came first.
    pub(crate) conflicts: usize,
    /// Sessions that were gone, where no login or logout had failed.
    pub(crate) lost: usize,
    /// Sessions that were gone after a login or logout that failed, as the visitor was told.
    pub(crate) ended: usize,
    /// Anything of another visitor or of a session that is over, and states older than the visitor's own cookie proves.
    pub(crate) wrong: usize,
    /// Lines that were acknowledged, and are not in the cart.
    pub(crate) unkept: usize,
    /// Lines that are in the cart twice.
    pub(crate) doubled: usize,
    /// Lines that were acknowledged to the slower of two requests, and which the faster one's answer took away.
    pub(crate) overwritten: usize,
    /// Answers from a local copy that did not know what another node had done.
    pub(crate) behind: usize,
    pub(crate) longest: Duration,
    /// What must not be, in words.
    pub(crate) findings: Vec<String>,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.hidden += other.hidden;
        self.conflicts += other.conflicts;
        self.lost += other.lost;
        self.ended += other.ended;
        self.wrong += other.wrong;
        self.unkept += other.unkept;
        self.doubled += other.doubled;
        self.overwritten += other.overwritten;
        self.behind += other.behind;
        self.longest = self.longest.max(other.longest);
        self.findings.extend(other.findings);
    }
}

/// A row for each event.
#[derive(Default)]
pub(crate) struct Table {
    pub(crate) rows: Vec<Row>,
}

pub(crate) struct Row {
    pub(crate) topology: Topology,
    pub(crate) event: Event,
    pub(crate) tally: Tally,
}

/// What happens to a fleet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Nothing,
    NodeKilled,
    NodeBack,
    NodeAdded,
    StoreKilled,
    Refused,
    Stalled,
    Cut,
}

impl Event {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::NodeKilled => "a node is killed",
            Self::NodeBack => "it is started again",
            Self::NodeAdded => "a fourth is added",
            Self::StoreKilled => "the store is killed, and started",
            Self::Refused => "the network refuses, and opens",
            Self::Stalled => "it stalls, and opens",
            Self::Cut => "it cuts replies short, and opens",
        }
    }

    /// Whether it happens to the store, or to the way there.
    pub(crate) fn is_of_store(self) -> bool {
        matches!(self, Self::StoreKilled | Self::Refused | Self::Stalled | Self::Cut)
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_row(f, "topology", "event", &COLUMNS.map(str::to_owned))?;
        write_row(f, &"-".repeat(34), &"-".repeat(32), &COLUMNS.map(|_| "-".repeat(8)))?;
        for Row { topology, event, tally } in &self.rows {
            let counts = [
                tally.requests,
                tally.failed,
                tally.hidden,
                tally.conflicts,
                tally.lost,
                tally.ended,
                tally.wrong,
                tally.unkept,
                tally.doubled,
                tally.overwritten,
                tally.behind,
            ];
            let mut cells = counts.map(|count| count.to_string()).to_vec();
            cells.push(format!("{} ms", tally.longest.as_millis()));
            write_row(f, topology.name, event.name(), &cells)?;
        }
        f.write_str(LEGEND)
    }
}

fn write_row(f: &mut Formatter<'_>, topology: &str, event: &str, cells: &[String]) -> fmt::Result {
    write!(f, "| {topology:<34} | {event:<32} |")?;
    cells.iter().try_for_each(|cell| write!(f, " {cell:>8} |"))?;
    writeln!(f)
}

const COLUMNS: [&str; 12] = [
    "requests", "failed", "hidden", "conflict", "lost", "ended", "wrong", "unkept", "doubled", "overwr.",
    "behind", "longest",
];

const LEGEND: &str = "
requests  All that visitors made.
failed    A 5xx, or a connection that broke: the visitor saw it.
hidden    A node failed, and nginx asked another one: the visitor saw nothing.
conflict  409: a login or logout of the same visitor came first, or one that had failed after all. Nothing was changed.
lost      Sessions that were gone without a word. Always 0.
ended     Sessions that were gone after a login or a logout that was answered by a failure. Whether it was carried out is
          not known then; if it was, the cookie that the visitor still has opens nothing any more. In cookies, 0.
wrong     Another visitor's session, one that had ended, or an older state than the visitor's cookie proves. Always 0.
unkept    Acknowledged writes that were gone, other than those of the two columns below and those of ended sessions.
          Always 0.
doubled   Writes that were carried out twice. Always 0.
overwr.   In cookies: of two requests at once, the browser keeps the later answer, and what the other one wrote is gone.
          Stored sessions keep both, and this is 0.
behind    With local copies: answers that did not know yet what another node had done to the session, at most
          SESSION_FRESH_FOR earlier. Elsewhere 0.
longest   The slowest request. A call to a store ends after 500 ms; a request makes several.

What no topology keeps: two first requests at once make two sessions, of which the browser keeps one. What none in
cookies keeps: a copy of a cookie from before a logout opens until it expires.
";
