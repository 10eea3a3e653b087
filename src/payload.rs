//! What is inside a token: where the state is, the session's metadata, and the state or a reference to it.
//!
//! ```text
//! flags          1   placement (2 bits), codec (2), compression (2), subject present (1), 0
//! dictionary     v   its id, where the compression uses one
//! session id    16
//! created        v   seconds since 1970
//! authenticated  v   0 for never, else 1 + seconds since created
//! sealed         v   seconds since created
//! expires        v   seconds since created
//! sequence       v
//! schema         v
//! subject       16   where present
//!
//! state:      public length v || public segment || secret segment
//! reference:  record id 16 || version v
//! ```
//!
//! `v` is a varint. The relative times saturate at 0 and at 2^28 - 1, so each takes at most four octets.

use std::ops::Range;

use crate::session::{Metadata, SessionId, Subject};
use crate::store::RecordId;
use crate::varint;

/// The part of a payload that is not metadata. Its segments are slices on the way out, and where they stand on the
/// way in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body<Segment> {
    /// The state itself.
    State(State<Segment>),
    /// Where the state is.
    Reference { record: RecordId, version: u64 },
}

/// A state's two segments as they are carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State<Segment> {
    /// Whether this is a store's record rather than a cookie's content.
    pub(crate) record: bool,
    /// The code of the serialization format.
    pub(crate) codec: u8,
    pub(crate) compression: Compression,
    pub(crate) public: Segment,
    pub(crate) secret: Segment,
}

/// How the public segment is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Zstd,
    /// zstd with a trained dictionary. The format keeps a place for it; no version knows a dictionary yet.
    Dictionary(u64),
}

/// The octets that [`write`] appends.
pub(crate) fn len(metadata: &Metadata, body: &Body<&[u8]>) -> usize {
    let subject = if metadata.subject.is_some() { 16 } else { 0 };
    let head = 1 + 16 + numbers(metadata).into_iter().map(varint::len).sum::<usize>() + subject;
    head + match body {
        Body::State(State { compression, public, secret, .. }) => {
            let dictionary = if let Compression::Dictionary(id) = compression { varint::len(*id) } else { 0 };
            dictionary + varint::len(public.len() as u64) + public.len() + secret.len()
        }
        Body::Reference { version, .. } => 16 + varint::len(*version),
    }
}

/// Appends the payload.
pub(crate) fn write(metadata: &Metadata, body: &Body<&[u8]>, out: &mut Vec<u8>) {
    let (placement, codec, compression) = match body {
        Body::State(state) => (if state.record { RECORD } else { INLINE }, state.codec, state.compression),
        Body::Reference { .. } => (REFERENCE, 0, Compression::None),
    };
    let (compression, dictionary) = match compression {
        Compression::None => (0, None),
        Compression::Zstd => (1, None),
        Compression::Dictionary(id) => (2, Some(id)),
    };
    let subject = u8::from(metadata.subject.is_some());
    out.push(placement | codec << 2 | compression << 4 | subject << 6);
    if let Some(id) = dictionary {
        varint::write(id, out);
    }
    out.extend_from_slice(metadata.id.as_bytes());
    for number in numbers(metadata) {
        varint::write(number, out);
    }
    if let Some(subject) = &metadata.subject {
        out.extend_from_slice(subject.as_bytes());
    }
    match body {
        Body::State(State { public, secret, .. }) => {
            varint::write(public.len() as u64, out);
            out.extend_from_slice(public);
            out.extend_from_slice(secret);
        }
        Body::Reference { record, version } => {
            out.extend_from_slice(record.as_bytes());
            varint::write(*version, out);
        }
    }
}

/// Reads a whole payload. `None` where it does not follow the format to the last octet.
pub(crate) fn read(bytes: &[u8]) -> Option<(Metadata, Body<Range<usize>>)> {
    let mut rest = bytes;
    let [flags] = *take::<1>(&mut rest)?;
    if flags >> 7 != 0 {
        return None;
    }
    let (placement, codec, compression) = (flags & 3, flags >> 2 & 3, flags >> 4 & 3);
    let compression = match compression {
        0 => Compression::None,
        1 => Compression::Zstd,
        2 => Compression::Dictionary(varint::read(&mut rest)?),
        _ => return None,
    };
    let id = SessionId::from_bytes(*take(&mut rest)?);
    let created = varint::read(&mut rest)?;
    let mut delta = || varint::read(&mut rest).filter(|&delta| delta <= MAX_DELTA);
    let (authenticated, sealed, expires) = (delta()?, delta()?, delta()?);
    let sequence = varint::read(&mut rest)?;
    let schema = u32::try_from(varint::read(&mut rest)?).ok()?;
    let subject = if flags >> 6 & 1 == 1 { Some(Subject::from_bytes(*take(&mut rest)?)) } else { None };
    let metadata = Metadata {
        id,
        created,
        authenticated: match authenticated.checked_sub(1) {
            Some(after) => Some(created.checked_add(after)?),
            None => None,
        },
        sealed: created.checked_add(sealed)?,
        expires: created.checked_add(expires)?,
        sequence,
        schema,
        subject,
    };
    let body = match placement {
        INLINE | RECORD if codec <= MAX_CODEC => {
            let public = usize::try_from(varint::read(&mut rest)?).ok()?;
            let start = bytes.len() - rest.len();
            let end = start.checked_add(public).filter(|&end| end <= bytes.len())?;
            let (public, secret) = (start..end, end..bytes.len());
            Body::State(State { record: placement == RECORD, codec, compression, public, secret })
        }
        REFERENCE if codec == 0 && compression == Compression::None => {
            let record = RecordId::from_bytes(*take(&mut rest)?);
            let version = varint::read(&mut rest)?;
            if !rest.is_empty() {
                return None;
            }
            Body::Reference { record, version }
        }
        _ => return None,
    };
    Some((metadata, body))
}

const INLINE: u8 = 0;
const REFERENCE: u8 = 1;
const RECORD: u8 = 2;

/// postcard is 0, JSON 1.
const MAX_CODEC: u8 = 1;

/// What four octets of varint hold.
const MAX_DELTA: u64 = (1 << 28) - 1;

/// The metadata's numbers in the order of the format, times relative to the creation.
fn numbers(metadata: &Metadata) -> [u64; 6] {
    let relative = |time: u64| time.saturating_sub(metadata.created).min(MAX_DELTA);
    [
        metadata.created,
        metadata.authenticated.map_or(0, |time| (relative(time) + 1).min(MAX_DELTA)),
        relative(metadata.sealed),
        relative(metadata.expires),
        metadata.sequence,
        metadata.schema.into(),
    ]
}

fn take<'a, const N: usize>(bytes: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(taken)
}
