//! Somebody with a browser, who remembers what the shop has promised and looks whether it keeps it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use tokio::sync::watch;

use crate::answer::{Answer, encoded};
use crate::browser::{Browser, Url};
use crate::client::{Connection, Request};
use crate::fleet::AFFINITY;
use crate::load::Progress;
use crate::tally::Tally;

/// What a kind of session keeps when requests cross.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// In cookies: the later answer is the session.
    Inline,
    /// In a store that every node asks: all there is to know.
    Stored,
    /// In a store, with copies on each node that may not know for a while what another one did.
    Copied,
}

pub(crate) struct Visitor {
    name: String,
    kept: Kept,
    port: u16,
    browser: Browser,
    /// A browser has several for two requests at once.
    connections: [Connection; 2],
    step: usize,
    /// How many lines it has asked for. Each has its number in its name.
    asked: u32,
    /// The first line that was asked for since the session began.
    began: u32,
    /// The lines that must be in the cart.
    promised: BTreeSet<u32>,
    /// Those of them that another node's copy may not know yet.
    crossed: BTreeSet<u32>,
    /// Lines that cannot be in the cart: they were refused, or the browser has kept another answer.
    excluded: BTreeSet<u32>,
    logged_in: bool,
    in_doubt: Option<Doubt>,
    /// The cookies of sessions that were ended.
    ended: Vec<String>,
    pub(crate) tally: Tally,
    progress: watch::Sender<Progress>,
}

/// A login or logout has failed, and may have been carried out, or may yet be.
#[derive(Clone, Copy)]
struct Doubt {
    /// The first line that may have gone into another session.
    since: u32,
    /// The first line that was asked for after the failure. Once it is there beside older ones, what failed was meant
    /// for an older state, and will not be carried out any more.
    until: u32,
}

/// What became of a request that changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    Conflict,
    Failed,
}

impl Visitor {
    pub(crate) fn new(number: usize, kept: Kept, port: u16, progress: watch::Sender<Progress>) -> Self {
        Self {
            name: format!("v{number}"),
            kept,
            port,
            browser: Browser::default(),
            connections: Default::default(),
            // Nobody does the same at the same time.
            step: number * 5,
            asked: 0,
            began: 0,
            promised: BTreeSet::new(),
            crossed: BTreeSet::new(),
            excluded: BTreeSet::new(),
            logged_in: false,
            in_doubt: None,
            ended: Vec::new(),
            tally: Tally::default(),
            progress,
        }
    }

    /// Goes on until it is told to stop.
    pub(crate) async fn shop(mut self, stop: Arc<AtomicBool>) -> Self {
        while !stop.load(Ordering::Relaxed) {
            self.act().await;
        }
        self
    }

    /// Adds a line, sees that it is there, and that whatever it has ended is over. Whether nothing failed.
    pub(crate) async fn is_served(&mut self) -> bool {
        let before = self.tally.failed;
        self.add().await;
        self.look_until_all_is_known().await;
        if self.kept != Kept::Inline {
            for cookies in std::mem::take(&mut self.ended) {
                self.is_over(&cookies).await;
            }
        }
        self.tally.failed == before
    }

    async fn act(&mut self) {
        self.step += 1;
        match self.step % 16 {
            0 | 2 | 6 | 9 => self.add().await,
            4 | 11 => self.add_twice_at_once().await,
            7 => self.add_while_looking().await,
            3 if !self.logged_in => self.log_in().await,
            // Sessions in cookies have nothing to forbid a slower answer that puts them back.
            14 if self.step % 64 < 16 && self.kept != Kept::Inline => self.log_out_while_adding().await,
            14 if self.step % 32 < 16 => self.log_out().await,
            13 => drop(self.send(&[get("/")]).await),
            _ => self.look().await,
        }
    }

    async fn add(&mut self) {
        let line = self.next_line();
        let outcome = self.post(&[add(&self.name, line)]).await[0];
        self.was_told(line, outcome);
        if outcome == Outcome::Done {
            self.crossed.clear();
        }
    }

    /// What was acknowledged must be in the cart, what was refused cannot be. Where the answer is a failure, or got
    /// lost, nobody knows.
    fn was_told(&mut self, line: u32, outcome: Outcome) {
        match outcome {
            Outcome::Done => self.promised.insert(line),
            Outcome::Conflict => self.excluded.insert(line),
            Outcome::Failed => false,
        };
    }

    async fn add_twice_at_once(&mut self) {
        if self.may_have_none() {
            return self.add().await;
        }
        let lines = [self.next_line(), self.next_line()];
        let before: BTreeSet<_> = self.promised.clone();
        let requests = lines.map(|line| add(&self.name, line));
        let answers = self.send(&requests).await;
        for (index, answer) in answers {
            let (line, outcome) = (lines[index], outcome(answer.as_ref()));
            if self.kept == Kept::Inline && outcome == Outcome::Done {
                // Each answer carries what was there before and its own line; this one came later.
                for other in self.promised.difference(&before).copied().collect::<Vec<_>>() {
                    self.promised.remove(&other);
                    self.excluded.insert(other);
                    self.tally.overwritten += 1;
                }
            }
            self.was_told(line, outcome);
            self.crossed.insert(line);
        }
    }

    async fn add_while_looking(&mut self) {
        if self.may_have_none() {
            return self.add().await;
        }
        let line = self.next_line();
        let before = self.promised.clone();
        let requests = [add(&self.name, line), get("/cart.json")];
        for (index, answer) in self.send(&requests).await {
            match (index, answer) {
                (0, answer) => self.was_told(line, outcome(answer.as_ref())),
                (1, Some(answer)) if answer.status == 200 => self.judge(&answer, &before),
                _ => {}
            }
        }
    }

    async fn look(&mut self) {
        let promised = self.promised.clone();
        for (_, answer) in self.send(&[get("/cart.json")]).await {
            if let Some(answer) = answer.filter(|answer| answer.status == 200) {
                self.judge(&answer, &promised);
            }
        }
    }

    /// A node's copy knows in time what another one did.
    async fn look_until_all_is_known(&mut self) {
        let start = Instant::now();
        loop {
            let behind = self.tally.behind;
            self.look().await;
            if self.tally.behind == behind {
                return;
            }
            if start.elapsed() > KNOWN {
                return self.wrong("a copy did not learn of another node's change");
            }
        }
    }

    async fn log_in(&mut self) {
        let request = post("/login", &[("user", &self.name)]);
        match self.post(&[request]).await[0] {
            Outcome::Done => self.logged_in = true,
            Outcome::Conflict => {}
            Outcome::Failed => self.doubts(self.asked),
        }
    }

    async fn log_out(&mut self) {
        let cookies = self.cookies();
        match self.post(&[post("/logout", &[])]).await[0] {
            Outcome::Done => self.begin_anew(self.asked, cookies),
            Outcome::Conflict => {}
            Outcome::Failed => self.doubts(self.asked),
        }
    }

    /// A logout is not undone by the answer to another request, whichever comes first.
    async fn log_out_while_adding(&mut self) {
        let cookies = self.cookies();
        if cookies.is_empty() {
            return;
        }
        let line = self.next_line();
        let requests = [post("/logout", &[]), add(&self.name, line)];
        match self.post(&requests).await[..] {
            [Outcome::Done, _] => self.begin_anew(line, cookies),
            [_, added] => {
                self.doubts(line);
                // It may have been added to the session that ended, or to the one after it.
                if added == Outcome::Conflict {
                    self.excluded.insert(line);
                }
            }
            [..] => unreachable!("there were two requests"),
        }
    }

    fn begin_anew(&mut self, first_line: u32, ended: String) {
        self.forget(first_line);
        if !ended.is_empty() {
            self.ended.push(ended);
        }
    }

    /// Expects nothing that was before this line.
    fn forget(&mut self, first_line: u32) {
        self.began = first_line;
        self.promised.retain(|line| *line >= first_line);
        self.crossed.retain(|line| *line >= first_line);
        self.logged_in = false;
        self.in_doubt = None;
    }

    /// Whether there may be no session, whatever cookie is left of one: two requests at once would begin two.
    fn may_have_none(&self) -> bool {
        self.in_doubt.is_some() || self.promised.is_empty() && !self.logged_in
    }

    fn doubts(&mut self, since: u32) {
        self.in_doubt = Some(Doubt { since, until: self.asked });
    }

    fn next_line(&mut self) -> u32 {
        self.asked += 1;
        self.asked - 1
    }

    /// Holds a cart against what was promised before it was asked for.
    fn judge(&mut self, answer: &Answer, promised: &BTreeSet<u32>) {
        let (user, names) = contents(answer);
        let mut lines = BTreeSet::new();
        let (mut stale, before) = (false, self.began);
        for name in names {
            let number = name.strip_prefix(&format!("{}-", self.name)).map(str::parse::<u32>);
            let Some(Ok(line)) = number else {
                self.wrong(&format!("found {name}"));
                continue;
            };
            if !lines.insert(line) {
                self.tally.doubled += 1;
                self.finding(&format!("{name} is there twice"));
            }
            if self.excluded.contains(&line) {
                self.wrong(&format!("{name} is there, which was refused or overwritten"));
            }
            stale |= line < before;
        }
        if user.as_ref().is_some_and(|user| *user != self.name) {
            self.wrong(&format!("is called {user:?}"));
        }
        if stale {
            // The answer to a request beside the logout may have put the old reference back into the browser.
            if self.kept == Kept::Copied {
                self.tally.behind += 1;
            } else {
                self.wrong("an ended session opened");
            }
            return;
        }
        let since = self.in_doubt.map_or(self.asked, |doubt| doubt.since);
        let had_lines = promised.range(..since).next().is_some();
        let had_any = had_lines || self.logged_in && user.is_none();
        if had_any && lines.range(..since).next().is_none() {
            if self.in_doubt.is_some() {
                self.tally.ended += 1;
            } else {
                self.tally.lost += 1;
                self.finding(&format!("the session is gone, with {promised:?}"));
            }
            self.forget(since);
            self.logged_in = user.is_some();
            return;
        }
        self.in_doubt = self.in_doubt.filter(|doubt| lines.range(doubt.until..).next().is_none());
        if user.is_some() != self.logged_in {
            self.wrong(&format!("is called {user:?}, and logged in: {}", self.logged_in));
        }
        let missing: BTreeSet<u32> = promised.difference(&lines).copied().collect();
        if missing.is_empty() {
            return;
        }
        if self.kept == Kept::Copied && missing.is_subset(&self.crossed) {
            self.tally.behind += 1;
            return;
        }
        self.tally.unkept += missing.len();
        self.finding(&format!("{missing:?} are gone of {promised:?}"));
        self.promised.retain(|line| !missing.contains(line));
    }

    /// What was ended opens nothing; where nodes have copies, soon.
    async fn is_over(&mut self, cookies: &str) {
        // Whoever has copied them goes to any node.
        let others = cookies.split("; ").filter(|cookie| !cookie.starts_with(AFFINITY));
        let cookies = others.collect::<Vec<_>>().join("; ");
        let start = Instant::now();
        loop {
            let answers = self.send_with(&[get("/cart.json")], &cookies).await;
            let Some((_, Some(answer))) = answers.into_iter().next() else { return };
            if answer.status != 200 {
                return;
            }
            let (user, lines) = contents(&answer);
            if user.is_none() && lines.is_empty() {
                return;
            }
            if self.kept != Kept::Copied || start.elapsed() > KNOWN {
                return self.wrong("the cookie of an ended session opened");
            }
            self.tally.behind += 1;
        }
    }

    async fn post(&mut self, requests: &[Request]) -> Vec<Outcome> {
        let mut answers = self.send(requests).await;
        answers.sort_by_key(|(index, _)| *index);
        answers.iter().map(|(_, answer)| outcome(answer.as_ref())).collect()
    }

    /// Sends one request, or two at once, and keeps the cookies of the answers, in the order in which they came.
    async fn send(&mut self, requests: &[Request]) -> Vec<(usize, Option<Answer>)> {
        let cookies = self.cookies();
        let answers = self.send_with(requests, &cookies).await;
        for field in answers
            .iter()
            .filter_map(|(_, answer)| answer.as_ref())
            .flat_map(|answer| answer.all("set-cookie"))
        {
            self.browser.receive(SHOP, field, OffsetDateTime::now_utc());
        }
        answers
    }

    async fn send_with(&mut self, requests: &[Request], cookies: &str) -> Vec<(usize, Option<Answer>)> {
        let port = self.port;
        let timed = async |index: usize, connection: &mut Connection| {
            let start = Instant::now();
            let answer =
                tokio::time::timeout(PATIENCE, connection.send(port, &requests[index], cookies)).await;
            (index, answer.expect("everybody is answered").ok(), start.elapsed())
        };
        let [first, second] = &mut self.connections;
        let mut answers = if requests.len() == 1 {
            vec![timed(0, first).await]
        } else {
            let (one, two) = tokio::join!(timed(0, first), timed(1, second));
            vec![one, two]
        };
        answers.sort_by_key(|(_, _, took)| *took);
        for (_, answer, took) in &answers {
            self.tally.requests += 1;
            self.tally.failed += usize::from(outcome(answer.as_ref()) == Outcome::Failed);
            self.tally.conflicts += usize::from(outcome(answer.as_ref()) == Outcome::Conflict);
            self.tally.longest = self.tally.longest.max(*took);
            // Those that nginx has asked, one after the other.
            let nodes =
                answer.iter().flat_map(|answer| answer.all("x-node")).flat_map(|nodes| nodes.split(", "));
            let nodes: Vec<&str> = nodes.collect();
            self.tally.hidden += nodes.len().saturating_sub(1);
            self.progress.send_modify(|progress| {
                progress.requests += 1;
                progress.nodes.extend(nodes.last().map(|node| (*node).to_owned()));
            });
        }
        answers.into_iter().map(|(index, answer, _)| (index, answer)).collect()
    }

    fn cookies(&self) -> String {
        self.browser.clone().send(SHOP, OffsetDateTime::now_utc()).join("; ")
    }

    fn wrong(&mut self, what: &str) {
        self.tally.wrong += 1;
        self.finding(what);
    }

    fn finding(&mut self, what: &str) {
        self.tally.findings.push(format!("{} at step {}: {what}", self.name, self.step));
    }
}

fn outcome(answer: Option<&Answer>) -> Outcome {
    match answer.map(|answer| answer.status) {
        Some(200 | 303) => Outcome::Done,
        Some(409) => Outcome::Conflict,
        None | Some(500..) => Outcome::Failed,
        Some(other) => panic!("the shop answered {other}: {answer:?}"),
    }
}

/// Who is logged in, and the names of the lines.
fn contents(answer: &Answer) -> (Option<String>, Vec<String>) {
    let cart = answer.json();
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let lines = cart["cart"].as_array().expect("a list");
    (text(&cart["user"]), lines.iter().map(|line| text(&line["name"]).expect("a name")).collect())
}

fn get(path: &'static str) -> Request {
    Request { path, form: None }
}

fn post(path: &'static str, fields: &[(&str, &str)]) -> Request {
    Request { path, form: Some(encoded(fields)) }
}

fn add(visitor: &str, line: u32) -> Request {
    post("/cart", &[("name", &format!("{visitor}-{line}")), ("qty", "1")])
}

const SHOP: Url = Url::http("127.0.0.1", "/");

/// After which a copy must have learned of another node's change: several times `SESSION_FRESH_FOR`, for slow machines.
const KNOWN: Duration = Duration::from_secs(5);

/// After which something that should have happened will not.
const PATIENCE: Duration = Duration::from_secs(30);
