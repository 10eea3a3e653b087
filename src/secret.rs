//! Values that stay out of the compressor, out of logs, and out of memory once they are dropped.
//!
//! serde hands no context down, so the running seal is a thread-local scope. While it lasts, a [`Secret`] writes its
//! bytes into the scope's secret segment and, in the public stream, only its index.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::Range;
use std::rc::Rc;

use ctutils::CtEq;
use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroize;

use crate::format::{Format, Watch};
use crate::varint;
use crate::wiped::Wiped;

/// A part of a session's value that is never compressed, never shown by `Debug`, and zeroed on drop.
///
/// Compression makes lengths depend on content: an attacker who can place text beside a secret and watch the size of
/// the cookie can guess the secret piece by piece ([CRIME](https://en.wikipedia.org/wiki/CRIME), BREACH). A `Secret`
/// travels in a segment of its own that is encrypted but not compressed. It costs one octet for its index and one for
/// its length, and whatever compression would have saved.
///
/// It serializes only while a session is being sealed, and deserializes only while one is being opened; anywhere else
/// (a log line, an API response) it is an error. A `Secret` inside a `Secret` stays inside the outer one.
///
/// Equality takes constant time for a given length.
///
/// ```
/// use hardtack::Secret;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Login {
///     user: String,
///     access_token: Secret<String>,
/// }
///
/// let login = Login { user: "ada".into(), access_token: Secret::new("hunter2".into()) };
/// assert_eq!(login.access_token.expose(), "hunter2");
/// assert_eq!(format!("{:?}", login.access_token), "Secret(..)");
/// assert!(serde_json::to_string(&login).is_err());
/// ```
#[derive(Clone, Default)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Takes the value in.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value. The name is meant to stand out in a review.
    pub const fn expose(&self) -> &T {
        &self.0
    }

    /// The value, to be changed.
    pub const fn expose_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: Zeroize> From<T> for Secret<T> {
    fn from(value: T) -> Self {
        Self(value)
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> zeroize::ZeroizeOnDrop for Secret<T> {}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl<T: Zeroize + AsRef<[u8]>> PartialEq for Secret<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_ref().ct_eq(other.0.as_ref()).into()
    }
}

impl<T: Zeroize + AsRef<[u8]>> Eq for Secret<T> {}

impl<T: Zeroize + Serialize> Serialize for Secret<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(_inside) = Inside::enter() else { return self.0.serialize(serializer) };
        let index = divert(&self.0).map_err(S::Error::custom)?;
        serializer.serialize_u32(index)
    }
}

impl<'de, T: Zeroize + DeserializeOwned> Deserialize<'de> for Secret<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Some(_inside) = Inside::enter() else { return T::deserialize(deserializer).map(Self) };
        let index = u32::deserialize(deserializer)?;
        fetch(index).map(Self).map_err(D::Error::custom)
    }
}

/// Runs `write`, which serializes a value; every secret in it goes to `segment`.
pub(crate) fn sealing<R>(format: Format, segment: &mut Wiped, write: impl FnOnce(&Watch) -> R) -> R {
    let watch = Rc::new(Watch::default());
    let mode = Mode::Sealing { count: 0, watch: Rc::clone(&watch) };
    let running = Running::start(Scope { mode, format, segment: std::mem::take(segment) });
    let result = write(&watch);
    *segment = running.finish().segment;
    result
}

/// While the guard lives, secrets are deserialized from `segment`. `None` if the segment is malformed.
pub(crate) fn opening(format: Format, segment: &[u8]) -> Option<Running> {
    // Without secrets there is nothing to fetch, unless a scope of somebody else's is in place.
    if segment.is_empty() && SCOPE.with_borrow(Option::is_none) {
        return Some(Running { outer: None });
    }
    let mut spans = Vec::new();
    let mut rest = segment;
    while !rest.is_empty() {
        let length = usize::try_from(varint::read(&mut rest)?).ok()?;
        let start = segment.len() - rest.len();
        rest = rest.get(length..)?;
        spans.push(start..start + length);
    }
    let mode = Mode::Opening { spans };
    Some(Running::start(Scope { mode, format, segment: Wiped::from(segment.to_vec()) }))
}

/// A seal or an opening that is running on this thread.
struct Scope {
    mode: Mode,
    format: Format,
    segment: Wiped,
}

enum Mode {
    /// The watch is the one over the value, which the content of a secret would otherwise not take part in.
    Sealing {
        count: u32,
        watch: Rc<Watch>,
    },
    Opening {
        spans: Vec<Range<usize>>,
    },
}

thread_local! {
    static SCOPE: RefCell<Option<Scope>> = const { RefCell::new(None) };
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Keeps the scope in place; dropping it (a panic in a `Serialize`) puts back whatever was there before.
#[must_use]
pub(crate) struct Running {
    outer: Option<(Option<Scope>, bool)>,
}

impl Running {
    fn start(scope: Scope) -> Self {
        Self { outer: Some((SCOPE.replace(Some(scope)), INSIDE.replace(false))) }
    }

    fn finish(mut self) -> Scope {
        self.restore().expect("a running scope is only taken when it finishes")
    }

    fn restore(&mut self) -> Option<Scope> {
        let (scope, inside) = self.outer.take()?;
        INSIDE.set(inside);
        SCOPE.replace(scope)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.restore();
    }
}

/// Marks that the content of a secret is being written or read, so that secrets within it stay inline.
struct Inside;

impl Inside {
    /// `None` if this thread is inside a secret already.
    fn enter() -> Option<Self> {
        if INSIDE.replace(true) { None } else { Some(Self) }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.set(false);
    }
}

/// Appends the content to the secret segment and gives its index.
fn divert<T: Serialize>(value: &T) -> Result<u32, &'static str> {
    const OUTSIDE: &str = "a Secret is serialized only while a session is being sealed";
    let format = SCOPE.with_borrow(|scope| scope.as_ref().map(|scope| scope.format)).ok_or(OUTSIDE)?;
    // The scope is not borrowed while the value's own code runs.
    let mut content = Wiped::with_capacity(256);
    let inner = Watch::default();
    let written = format.write(value, &mut content, &inner);
    SCOPE.with_borrow_mut(|scope| {
        let scope = scope.as_mut().ok_or(OUTSIDE)?;
        let Mode::Sealing { count, watch } = &mut scope.mode else { return Err(OUTSIDE) };
        if let Err(why) = written {
            watch.refuse(why);
            return Err("refused");
        }
        watch.note(inner.shape());
        let index = *count;
        *count += 1;
        scope.segment.reserve(varint::len(content.len() as u64) + content.len());
        varint::write(content.len() as u64, &mut scope.segment);
        scope.segment.extend_from_slice(&content);
        Ok(index)
    })
}

/// Reads the content of the secret with this index.
fn fetch<T: DeserializeOwned>(index: u32) -> Result<T, &'static str> {
    let (format, content) = SCOPE.with_borrow(|scope| {
        let scope = scope.as_ref().ok_or("a Secret is deserialized only while a session is being opened")?;
        let Mode::Opening { spans } = &scope.mode else { return Err("no session is being opened") };
        let span = usize::try_from(index).ok().and_then(|index| spans.get(index)).ok_or("no such secret")?;
        Ok((scope.format, Wiped::from(scope.segment[span.clone()].to_vec())))
    })?;
    format.read(&content).ok_or("the secret does not decode")
}

#[cfg(test)]
mod tests;
