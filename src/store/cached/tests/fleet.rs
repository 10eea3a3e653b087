//! Sessions on two nodes, through their managers: what a browser gets to see, and what its reads cost.

use serde::{Deserialize, Serialize};

use super::*;
use crate::{Budget, Key, KeyRing, OsRandom, SessionManager};

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Cart {
    items: Vec<String>,
}

/// Through the manager: the cookie names the version, so the other node looks further as soon as it has to.
#[tokio::test]
async fn a_browser_reads_what_it_wrote_through_any_node() {
    let (shared, clock, [one, two]) = fleet(Duration::from_secs(5));
    let mut browser = String::new();
    for n in 0..10 {
        let (writer, reader) = if n % 2 == 0 { (&one, &two) } else { (&two, &one) };
        let before = shared.loads();
        write(writer, &mut browser, n).await;
        assert_eq!(shared.loads(), before, "the writer has the version that it overwrites");
        for _ in 0..20 {
            assert_eq!(items(writer, &browser).await, n + 1);
        }
        assert_eq!(shared.loads(), before, "the writer has the version that it wrote");
        for _ in 0..20 {
            assert_eq!(items(reader, &browser).await, n + 1);
        }
        assert_eq!(shared.loads(), before + 1, "the reader asks once");
        clock.advance(Duration::from_secs(1));
    }
}

#[tokio::test]
async fn a_logout_through_one_node_reaches_the_other_when_its_copy_is_too_old() {
    let (_, clock, [one, two]) = fleet(Duration::from_secs(5));
    let mut browser = String::new();
    write(&one, &mut browser, 0).await;
    let stolen = browser.clone();
    assert_eq!(items(&two, &stolen).await, 1);

    let mut session = one.load_from([&browser]).await.expect("load");
    session.destroy();
    one.save(&mut session, 0).await.expect("commit");
    assert_eq!(items(&one, &stolen).await, 0, "at once where it was ended");
    clock.advance(Duration::from_millis(4_999));
    assert_eq!(items(&two, &stolen).await, 1, "the copy is fresh");
    let mut late = two.load_from([&stolen]).await.expect("load");
    late.items.push("late".into());
    assert!(two.save(&mut late, 0).await.expect_err("it was ended").is_conflict());
    assert_eq!(items(&two, &stolen).await, 0, "a refused write ends the copy");

    write(&one, &mut browser, 0).await;
    assert_eq!(items(&two, &browser).await, 1);
}

/// What a read costs: one browser, two nodes in turns, a request every 10 ms, 1,000 reads.
#[tokio::test]
async fn of_a_thousand_reads_over_two_nodes_few_reach_the_network() {
    println!("{:>25}  writes  loads  loads per read", "fresh for");
    for (fresh_for, writes, loads) in [
        (Duration::ZERO, 1, 1_000),
        (Duration::from_millis(100), 1, 100 + 99),
        (Duration::from_secs(1), 1, 10 + 9),
        (Duration::from_secs(5), 1, 2 + 1),
        (Duration::MAX, 1, 1),
        // Each write makes the other node ask once, and renews the writer's copy.
        (Duration::from_secs(5), 10, 10),
        (Duration::MAX, 10, 10),
    ] {
        let (shared, clock, nodes) = fleet(fresh_for);
        let mut browser = String::new();
        let mut written = 0;
        for (n, node) in (0..1_000).zip([1, 0].into_iter().cycle()) {
            if n % (1_000 / writes) == 0 {
                write(&nodes[0], &mut browser, written).await;
                written += 1;
            }
            assert_eq!(items(&nodes[node], &browser).await, written);
            clock.advance(Duration::from_millis(10));
        }
        let counted = shared.loads();
        let per_read = f64::from(u32::try_from(counted).expect("few")) / 1_000.0;
        println!("{:>25}  {written:>6}  {counted:>5}  {per_read:>14.3}", format!("{fresh_for:?}"));
        assert_eq!(counted, loads, "{fresh_for:?}, {writes} writes");
    }
}

/// Two nodes over one shared store. All sessions are stored.
fn fleet(fresh_for: Duration) -> (Arc<Shared>, Clock, [SessionManager<Cart>; 2]) {
    let clock = Clock::new();
    let shared = Shared::new(clock.clone());
    let key = Key::generate(&mut OsRandom).expect("random bytes");
    let node = |_| {
        let ring = KeyRing::new([key.clone()]).expect("one key");
        let store = CachedStore::new(shared.clone(), 1 << 20).fresh_for(fresh_for);
        SessionManager::builder("__Host-cart", ring)
            .budget(Budget::stored())
            .store(CachedStore { clock: clock.boxed(), ..store })
            .build()
            .expect("settings that work")
    };
    let nodes = [0, 1].map(node);
    (shared, clock, nodes)
}

/// A request that adds an item to the `had` ones.
async fn write(node: &SessionManager<Cart>, browser: &mut String, had: usize) {
    let mut session = node.load_from([&*browser]).await.expect("load");
    assert_eq!(session.items.len(), had);
    session.items.push("tea".into());
    let cookies = node.save(&mut session, 0).await.expect("commit").expect("it was changed");
    *browser = cookies.cookie_header();
}

/// A request that counts the items.
async fn items(node: &SessionManager<Cart>, browser: &str) -> usize {
    node.load_from([browser]).await.expect("load").items.len()
}
