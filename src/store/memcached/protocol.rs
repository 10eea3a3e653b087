//! The part of memcached's text protocol that the store speaks, and the proof that a reply answers its request.
//!
//! A connection is a queue: whoever reads a reply that was meant for somebody else gives one visitor the session of
//! another. So each request carries a number of its own, which the server repeats (the opaque token of the meta
//! commands), and a connection whose last reply was not read to its end is never asked again.
//!
//! No published client does all of it. async-memcached 0.9 leaves the token to its caller, reads without bound, reaches
//! IPv4 addresses only, and has no `cas` but the meta command's, which destroys what it cannot replace (see
//! [`Connection::store`]). The asynchronous client of memcache 0.21 is experimental and has the same `cas`, vmemcached
//! has none, and mtop-client is under the GPL. Against that stand four commands and their replies.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// A connection to one server.
pub(super) struct Connection {
    stream: BufReader<TcpStream>,
    opened: Instant,
    /// Whether the last reply was proven to be one, and read to its end.
    answered: bool,
}

impl Connection {
    pub(super) async fn open(server: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), opened: Instant::now(), answered: true })
    }

    /// When it was opened.
    pub(super) fn opened(&self) -> Instant {
        self.opened
    }

    /// Whether it may be asked once more: all was answered, and nothing has come since, be it an answer that nobody
    /// asked for or the end of the connection.
    pub(super) fn is_sound(&self) -> bool {
        let silent = self.stream.get_ref().try_read(&mut [0]).map_err(|error| error.kind());
        self.answered && self.stream.buffer().is_empty() && silent == Err(io::ErrorKind::WouldBlock)
    }

    /// The item under `key`.
    pub(super) async fn get(&mut self, key: &str) -> Result<Option<Item>, Failure> {
        let number = self.begin();
        self.send(format!("mg {key} v c f O{number}\r\n").as_bytes()).await?;
        let line = self.line().await?;
        let item = match line.split(' ').collect::<Vec<_>>()[..] {
            ["EN", ref flags @ ..] => {
                prove(flags, number)?;
                None
            }
            ["VA", length, ref flags @ ..] => {
                prove(flags, number)?;
                let unique = flag(flags, 'c').ok_or(Failure::Foreign("a value has no CAS unique"))?;
                if unique == 0 {
                    return Err(Failure::NoUniques);
                }
                let marked = flag(flags, 'f').ok_or(Failure::Foreign("a value has no flags"))?;
                let length = length.parse().map_err(|_| Failure::Foreign("a value has no length"))?;
                Some(Item { unique, flags: marked, value: self.block(length).await? })
            }
            _ => return Err(Failure::Refused(line)),
        };
        self.answered = true;
        Ok(item)
    }

    /// Puts `value` under `key`, if `only` holds.
    ///
    /// This is the older `add` and `cas` on purpose. The meta command would answer with the new CAS unique, but where
    /// it finds no memory for the new value it removes the old one, and a live session with it. A `mg` behind it, in
    /// the same round trip, proves the reply.
    pub(super) async fn store(
        &mut self,
        key: &str,
        only: Only,
        (flags, exptime): (u32, i64),
        value: [&[u8]; 2],
    ) -> Result<Stored, Failure> {
        let number = self.begin();
        let length = value[0].len() + value[1].len();
        if length > LARGEST {
            // Nothing was sent.
            self.answered = true;
            return Err(Failure::TooLarge(length));
        }
        let line = match only {
            Only::Absent => format!("add {key} {flags} {exptime} {length}\r\n"),
            Only::Unique(unique) => format!("cas {key} {flags} {exptime} {length} {unique}\r\n"),
        };
        let proof = format!("\r\nmg {key} O{number}\r\n");
        self.send(&[line.as_bytes(), value[0], value[1], proof.as_bytes()].concat()).await?;

        let line = self.line().await?;
        let stored = match line.as_str() {
            "STORED" => Ok(Stored::Done),
            "NOT_STORED" | "EXISTS" => Ok(Stored::Exists),
            "NOT_FOUND" => Ok(Stored::Absent),
            // A server that has no room for the value, or takes none of its size, reads on: the connection is as
            // good.
            refused if refused.starts_with("SERVER_ERROR ") => Err(Failure::Refused(line)),
            _ => return Err(Failure::Refused(line)),
        };
        let proven = self.proof(number).await;
        self.answered = proven.is_ok();
        stored.and_then(|stored| proven.map(|()| stored))
    }

    /// Removes the item under `key`, if it has this CAS unique.
    pub(super) async fn delete(&mut self, key: &str, unique: Option<u64>) -> Result<Stored, Failure> {
        let number = self.begin();
        let only = unique.map(|unique| format!(" C{unique}")).unwrap_or_default();
        self.send(format!("md {key}{only} O{number}\r\n").as_bytes()).await?;
        let line = self.line().await?;
        let deleted = match line.split(' ').collect::<Vec<_>>()[..] {
            [said @ ("HD" | "EX" | "NF"), ref flags @ ..] => {
                prove(flags, number)?;
                match said {
                    "HD" => Stored::Done,
                    "EX" => Stored::Exists,
                    _ => Stored::Absent,
                }
            }
            _ => return Err(Failure::Refused(line)),
        };
        self.answered = true;
        Ok(deleted)
    }

    /// What the server says of how it was started, by name.
    pub(super) async fn settings(&mut self) -> Result<Vec<(String, String)>, Failure> {
        self.begin();
        self.send(b"stats settings\r\n").await?;
        let mut settings = Vec::new();
        while settings.len() < MOST_SETTINGS {
            let line = self.line().await?;
            match line.splitn(3, ' ').collect::<Vec<_>>()[..] {
                ["STAT", name, value] => settings.push((name.to_owned(), value.to_owned())),
                ["END"] => {
                    self.answered = true;
                    return Ok(settings);
                }
                _ => return Err(Failure::Refused(line)),
            }
        }
        Err(Failure::Foreign("its settings do not end"))
    }

    /// The number of a new request. Until its reply was proven and read, the connection is unsound: that is how it
    /// stays when the request fails, or when nobody waits for it any longer.
    fn begin(&mut self) -> u64 {
        self.answered = false;
        NUMBERS.fetch_add(1, Ordering::Relaxed)
    }

    async fn send(&mut self, request: &[u8]) -> Result<(), Failure> {
        Ok(self.stream.get_mut().write_all(request).await?)
    }

    /// The next line, without its end.
    async fn line(&mut self) -> Result<String, Failure> {
        let mut line = Vec::new();
        (&mut self.stream).take(LONGEST_LINE).read_until(b'\n', &mut line).await?;
        match line.strip_suffix(b"\r\n") {
            Some(line) => Ok(String::from_utf8_lossy(line).into_owned()),
            None if line.ends_with(b"\n") || line.len() as u64 == LONGEST_LINE => {
                Err(Failure::Foreign("a line does not end as it should"))
            }
            None => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        }
    }

    /// A value of this length, and the end of its line. Memory is taken as the octets come, not as they are
    /// announced.
    async fn block(&mut self, length: usize) -> Result<Vec<u8>, Failure> {
        if length > LARGEST {
            return Err(Failure::TooLarge(length));
        }
        let mut block = Vec::with_capacity(length.min(1 << 16) + 2);
        (&mut self.stream).take(length as u64 + 2).read_to_end(&mut block).await?;
        if block.len() < length + 2 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        if block.split_off(length) != b"\r\n" {
            return Err(Failure::Foreign("a value is longer than announced"));
        }
        Ok(block)
    }

    async fn proof(&mut self, number: u64) -> Result<(), Failure> {
        let line = self.line().await?;
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["HD" | "EN", ref flags @ ..] => prove(flags, number),
            _ => Err(Failure::Refused(line)),
        }
    }
}

/// A value, and what the server keeps beside it.
pub(super) struct Item {
    /// Another one after each write of the item, and of no other item of this server as long as it runs.
    pub(super) unique: u64,
    pub(super) flags: u32,
    pub(super) value: Vec<u8>,
}

/// What must be true of an item for a value to be put there.
#[derive(Clone, Copy)]
pub(super) enum Only {
    Absent,
    Unique(u64),
}

/// What became of a conditional write.
#[derive(Clone, Copy)]
pub(super) enum Stored {
    Done,
    /// There is an item, with another CAS unique.
    Exists,
    Absent,
}

/// Why a request has no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("the connection failed")]
    Io(#[from] io::Error),
    #[error("the server answered {0:?}")]
    Refused(String),
    #[error("the answer is none of memcached's: {0}")]
    Foreign(&'static str),
    #[error("the answer is one to another request")]
    Unproven,
    #[error(
        "the server keeps no CAS uniques (it was started with -C), and without them saves would overwrite one another"
    )]
    NoUniques,
    #[error("a value of {0} octets is larger than the {LARGEST} that are read or written")]
    TooLarge(usize),
    #[error("the item is no record of this store")]
    NoRecord,
}

/// Whether the flags of a reply repeat the number of the request.
fn prove(flags: &[&str], number: u64) -> Result<(), Failure> {
    if flag(flags, 'O') == Some(number) { Ok(()) } else { Err(Failure::Unproven) }
}

/// The number behind a flag's letter.
fn flag<N: std::str::FromStr>(flags: &[&str], letter: char) -> Option<N> {
    flags.iter().find_map(|flag| flag.strip_prefix(letter))?.parse().ok()
}

/// The numbers of requests, each of which is used once in this process, whatever the connection.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

/// More than any line that answers one of these requests, in octets.
const LONGEST_LINE: u64 = 1024;

/// The largest value, in octets. A server takes 1 MiB, unless it was started with another `-I`.
const LARGEST: usize = 64 << 20;

/// About ten times as many as there are.
const MOST_SETTINGS: usize = 1000;
