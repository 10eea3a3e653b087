//! The shop on several machines, under load, while they fail: nginx, three processes of the shop, a real store, and a
//! network that is cut. It counts what visitors lose, and prints a table of it.
#![cfg(all(
    target_os = "linux",
    feature = "axum",
    feature = "sqlite",
    feature = "fs",
    feature = "redis",
    feature = "postgres",
    feature = "cached"
))]

#[path = "../shop/answer.rs"]
mod answer;
#[path = "../browser_model/browser.rs"]
mod browser;
mod client;
mod fleet;
mod load;
#[path = "../shop/program.rs"]
mod program;
#[path = "../servers/mod.rs"]
mod servers;
mod tally;
mod visitor;

use fleet::{AFFINITY, Fleet, Server, Topology};
use load::Load;
use servers::Way;
use tally::{Event, Row, Table};
use visitor::Kept;

const TOPOLOGIES: [Topology; 5] = [
    Topology { name: "in cookies, round robin", kept: Kept::Inline, store: Server::redis, settings: &[] },
    Topology {
        name: "in Redis, round robin",
        kept: Kept::Stored,
        store: Server::redis,
        settings: &[("SESSION_COOKIES", "0")],
    },
    Topology {
        name: "in PostgreSQL, round robin",
        kept: Kept::Stored,
        store: Server::postgres,
        settings: &[("SESSION_COOKIES", "0")],
    },
    Topology {
        name: "in Redis, copies, by affinity",
        kept: Kept::Copied,
        store: Server::redis,
        settings: COPIES,
    },
    Topology {
        name: "in PostgreSQL, copies, by affinity",
        kept: Kept::Copied,
        store: Server::postgres,
        settings: COPIES,
    },
];

const COPIES: &[(&str, &str)] = &[
    ("SESSION_COOKIES", "0"),
    ("SESSION_CACHE", "16"),
    ("SESSION_FRESH_FOR", "1"),
    ("SESSION_AFFINITY", AFFINITY),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_loses_nodes_stores_and_the_network_between_them_but_no_session() {
    let mut table = Table::default();
    for topology in TOPOLOGIES {
        survives(topology, &mut table).await;
    }
    println!("{table}");
    table.rows.iter().for_each(holds);
}

/// Lets everything happen to a fleet, one event after the other, each under load. After each, everybody is served.
async fn survives(topology: Topology, table: &mut Table) {
    let mut fleet = Fleet::start(topology).await;
    let mut load = Load::new(VISITORS, topology.kept, fleet.port());
    let mut row = |event: Event, tally| table.rows.push(Row { topology, event, tally });

    load.start();
    load.makes(REQUESTS).await;
    row(Event::Nothing, load.settles().await);

    load.start();
    load.makes(REQUESTS / 4).await;
    fleet.kill_node(0);
    load.makes(REQUESTS).await;
    row(Event::NodeKilled, load.settles().await);

    load.start();
    fleet.restart_node(0);
    load.makes(REQUESTS).await;
    row(Event::NodeBack, load.settles().await);

    load.start();
    load.makes(REQUESTS / 4).await;
    fleet.add_node();
    load.makes(REQUESTS).await;
    load.reaches(&fleet.nodes[3].address()).await;
    row(Event::NodeAdded, load.settles().await);

    load.start();
    load.makes(REQUESTS / 4).await;
    fleet.store.kill();
    load.makes(REQUESTS / 2).await;
    fleet.store.restart();
    load.makes(REQUESTS / 2).await;
    row(Event::StoreKilled, load.settles().await);

    // In the middle of a greeting, of an acknowledgement, of a record; between the steps of a rotation.
    let cuts = [0, 1, 5, 40, 150, 400, 1_000].map(Way::Cut);
    let broken: [(Event, &[Way]); 3] =
        [(Event::Refused, &[Way::Refuse]), (Event::Stalled, &[Way::Stall]), (Event::Cut, &cuts)];
    for (event, ways) in broken {
        load.start();
        load.makes(REQUESTS / 4).await;
        for way in ways {
            fleet.network.set(*way).await;
            load.makes(REQUESTS / 2 / ways.len()).await;
        }
        fleet.network.set(Way::Open).await;
        load.makes(REQUESTS / 2).await;
        row(event, load.settles().await);
    }
    if topology.kept == Kept::Inline {
        assert_eq!(fleet.asked_by_visitors(), 0, "sessions in cookies need no store");
    }
}

/// What a topology keeps in an event, as the table's legend says it.
#[track_caller]
fn holds(row: &Row) {
    let Row { topology, event, tally } = row;
    let what = format!("{}, {}: {}", topology.name, event.name(), tally.findings.join("\n"));
    assert_eq!((tally.wrong, tally.lost, tally.unkept, tally.doubled), (0, 0, 0, 0), "{what}");
    assert!(topology.kept == Kept::Copied || tally.behind == 0, "{what}");
    assert!(topology.kept == Kept::Inline || tally.overwritten == 0, "{what}");
    assert!(tally.ended <= tally.failed, "{what}");
    let nodes_fail = *event == Event::NodeKilled;
    let store_fails = event.is_of_store() && topology.kept != Kept::Inline;
    if nodes_fail || store_fails {
        // Otherwise nothing was put to the test.
        assert!(tally.failed + tally.hidden > 0, "{what}");
    } else if *event != Event::NodeAdded {
        // A reload of nginx closes connections, perhaps while a request is on its way to it.
        assert_eq!(tally.failed, 0, "{what}");
    }
    if topology.kept == Kept::Inline {
        assert_eq!((tally.ended, tally.conflicts), (0, 0), "{what}");
    }
}

const VISITORS: usize = 24;

/// How many requests an event takes at least.
const REQUESTS: usize = 200;
