//! A tag of a session for load balancers: they hash on it, so that a session's requests meet the same node's local copies.
//!
//! It is sixteen letters, the fingerprint of the session's id. It opens nothing, and nothing depends on it: where it is
//! lost, or a client invents one, another node serves the request.

use crate::aead;
use crate::cookie::AFFINITY_LEN;
use crate::session::SessionId;

/// The tag of a session, the same for as long as it keeps its id.
pub(crate) fn tag(id: &SessionId) -> [u8; AFFINITY_LEN] {
    let mut tag = [0; AFFINITY_LEN];
    // A letter for each half octet: digits and signs mean something to one balancer or another.
    for (letters, octet) in tag.chunks_exact_mut(2).zip(aead::fingerprint(id.as_bytes())) {
        letters.copy_from_slice(&[b'a' + (octet >> 4), b'a' + (octet & 15)]);
    }
    tag
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_letters_that_depend_on_the_whole_id() {
        let ids = (0..128).map(|bit| (1u128 << bit).to_be_bytes());
        let tags: std::collections::BTreeSet<_> = ids.map(|id| tag(&SessionId::from_bytes(id))).collect();
        assert_eq!(tags.len(), 128);
        assert!(tags.iter().flatten().all(|letter| (b'a'..=b'p').contains(letter)));
    }

    #[test]
    fn a_tag_stays_what_it_is() {
        // SHA-256 of PAE("affinity", sixteen zeros), its first eight octets: balancers must not reshuffle at an update.
        assert_eq!(&tag(&SessionId::from_bytes([0; 16])), b"omfenipmchopklmf");
    }
}
