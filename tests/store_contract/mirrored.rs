//! `MirroredStore`: the contract over one, two and three mirrors.

use std::sync::Arc;

use hardtack::store::{MemoryStore, MirroredStore, Store};

use crate::cases::{AnyStore, hold_to_the_contract};

mod three {
    super::hold_to_the_contract!(super::three);
}

async fn three() -> (AnyStore, ()) {
    mirrored(3, 2)
}

fn mirrored(mirrors: usize, write_quorum: usize) -> (AnyStore, ()) {
    let mirrors = (0..mirrors).map(|_| Arc::new(MemoryStore::default()) as Arc<dyn Store>);
    let store = MirroredStore::new(mirrors).and_then(|store| store.write_quorum(write_quorum));
    (Arc::new(store.expect("a quorum that can be reached")), ())
}
