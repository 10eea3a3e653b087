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

#[cfg(any(test, fuzzing))]
impl<Segment> Body<Segment> {
    /// The same with its segments in another form: what was read, to be written again.
    pub(crate) fn map<'a, Other>(&'a self, segment: impl Fn(&'a Segment) -> Other) -> Body<Other> {
        match self {
            Self::Reference { record, version } => Body::Reference { record: *record, version: *version },
            Self::State(state) => Body::State(State {
                record: state.record,
                codec: state.codec,
                compression: state.compression,
                public: segment(&state.public),
                secret: segment(&state.secret),
            }),
        }
    }
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

#[cfg(test)]
mod tests {
    use proptest::array::uniform16;
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    /// What is written, of the length that was foretold.
    #[track_caller]
    fn written(metadata: &Metadata, body: &Body<&[u8]>) -> Vec<u8> {
        let mut out = Vec::new();
        write(metadata, body, &mut out);
        assert_eq!(out.len(), len(metadata, body));
        out
    }

    fn metadata(times: impl Strategy<Value = [u64; 4]>) -> impl Strategy<Value = Metadata> {
        let ids = (uniform16(any::<u8>()), option::of(uniform16(any::<u8>())));
        (ids, times, any::<bool>(), any::<u64>(), any::<u32>()).prop_map(
            |(
                (id, subject),
                [created, authenticated, sealed, expires],
                is_authenticated,
                sequence,
                schema,
            )| Metadata {
                id: SessionId::from_bytes(id),
                created,
                authenticated: is_authenticated.then_some(authenticated),
                sealed,
                expires,
                sequence,
                schema,
                subject: subject.map(Subject::from_bytes),
            },
        )
    }

    /// Times that four octets can say.
    fn near() -> impl Strategy<Value = [u64; 4]> {
        (0..u64::MAX - MAX_DELTA, 0..MAX_DELTA, 0..=MAX_DELTA, 0..=MAX_DELTA).prop_map(
            |(created, authenticated, sealed, expires)| {
                [created, created + authenticated, created + sealed, created + expires]
            },
        )
    }

    fn body() -> impl Strategy<Value = Body<Vec<u8>>> {
        let compression = prop_oneof![
            Just(Compression::None),
            Just(Compression::Zstd),
            any::<u64>().prop_map(Compression::Dictionary)
        ];
        let segments = (vec(any::<u8>(), 0..200), vec(any::<u8>(), 0..50));
        let state = (any::<bool>(), 0..=MAX_CODEC, compression, segments).prop_map(
            |(record, codec, compression, (public, secret))| {
                Body::State(State { record, codec, compression, public, secret })
            },
        );
        let reference = (uniform16(any::<u8>()), any::<u64>())
            .prop_map(|(record, version)| Body::Reference { record: RecordId::from_bytes(record), version });
        prop_oneof![3 => state, 1 => reference]
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(metadata in metadata(near()), body in body()) {
            let bytes = written(&metadata, &body.map(Vec::as_slice));
            let (read, found) = read(&bytes).expect("what was written");
            prop_assert_eq!(read, metadata);
            prop_assert_eq!(found.map(|range| &bytes[range.clone()]), body.map(Vec::as_slice));
        }

        #[test]
        fn times_that_cannot_be_said_are_moved_once_and_stay(
            metadata in metadata(prop_oneof![any::<[u64; 4]>(), near()]),
            body in body(),
        ) {
            let bytes = written(&metadata, &body.map(Vec::as_slice));
            let (moved, _) = read(&bytes).expect("what was written");
            prop_assert_eq!(moved.created, metadata.created);
            let within = |time: u64| (moved.created..=moved.created.saturating_add(MAX_DELTA)).contains(&time);
            prop_assert!([moved.sealed, moved.expires].into_iter().chain(moved.authenticated).all(within));
            prop_assert_eq!(moved.authenticated.is_some(), metadata.authenticated.is_some());
            prop_assert_eq!(written(&moved, &body.map(Vec::as_slice)), bytes);
        }

        #[test]
        fn whatever_is_read_is_what_would_be_written_for_it(
            metadata in metadata(near()),
            body in body(),
            change in option::of((any::<prop::sample::Index>(), any::<u8>())),
            noise in vec(any::<u8>(), 0..80),
        ) {
            let mut bytes = written(&metadata, &body.map(Vec::as_slice));
            match change {
                Some((index, byte)) => *index.get_mut(&mut bytes) = byte,
                None => bytes = noise,
            }
            if let Some((metadata, body)) = read(&bytes) {
                prop_assert_eq!(written(&metadata, &body.map(|range| &bytes[range.clone()])), bytes);
            }
        }

        #[test]
        fn metadata_takes_at_most_40_octets_and_56_with_a_subject(
            metadata in metadata(prop_oneof![any::<[u64; 4]>(), near()]),
            public in 0..16_384_usize,
            dictionary in 0..128_u64,
        ) {
            let metadata = Metadata {
                created: metadata.created % (1 << 35),
                sequence: metadata.sequence % (1 << 14),
                schema: metadata.schema % 128,
                ..metadata
            };
            let segment = vec![0; public];
            let most = if metadata.subject.is_some() { 56 } else { 40 };
            for (compression, most) in [
                (Compression::None, most - 1),
                (Compression::Zstd, most - 1),
                (Compression::Dictionary(dictionary), most),
            ] {
                let (record, codec) = (false, 0);
                let state = State { record, codec, compression, public: segment.as_slice(), secret: &[] };
                let taken = len(&metadata, &Body::State(state)) - public;
                prop_assert!(taken <= most, "{} octets", taken);
            }
        }
    }

    #[test]
    fn the_most_that_metadata_may_take_is_taken() {
        let metadata = Metadata {
            id: SessionId::from_bytes([0; 16]),
            created: (1 << 35) - 1,
            authenticated: Some(u64::MAX),
            sealed: u64::MAX,
            expires: u64::MAX,
            sequence: (1 << 14) - 1,
            schema: 127,
            subject: Some(Subject::from_bytes([0; 16])),
        };
        let (record, codec, compression) = (false, 0, Compression::Dictionary(127));
        let segment = [0; (1 << 14) - 1];
        let state =
            Body::State(State { record, codec, compression, public: segment.as_slice(), secret: &[] });
        assert_eq!(len(&metadata, &state) - segment.len(), 56);
        assert_eq!(len(&Metadata { subject: None, ..metadata }, &state) - segment.len(), 40);
    }
}
