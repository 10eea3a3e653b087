//! Servers and networks that refuse, hang, die in the middle of an answer, or answer what memcached never would.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;

use super::*;
use crate::servers::{Way, free_port};

const SOON: Duration = Duration::from_millis(100);

/// A server behind a proxy, and a store that gives up soon.
async fn behind() -> (Memcached, Proxy, AnyStore) {
    let server = Memcached::start(&["-I", "4m"]);
    let proxy = Proxy::to(server.port()).await;
    let store = through(&proxy).await;
    (server, proxy, store)
}

async fn through(proxy: &Proxy) -> AnyStore {
    let address = format!("127.0.0.1:{}", proxy.port());
    Arc::new(MemcachedStore::connect(&address).await.expect("connect").with_deadline(SOON))
}

/// Every kind of call. Each must fail, and in time.
async fn all_fail(store: &AnyStore) -> Vec<StoreError> {
    let start = Instant::now();
    let errors = vec![
        failed(store.load(&ID, 0).await),
        failed(store.save(&record(0, in_an_hour(), b""), Expect::Absent).await),
        failed(store.save(&record(1, in_an_hour(), b""), Expect::Version(0)).await),
        failed(store.touch(&ID, 0, in_an_hour()).await),
        failed(store.delete(&ID, None).await),
        failed(store.delete(&ID, Some(0)).await),
    ];
    assert!(start.elapsed() < SOON * 12, "six calls took {:?}", start.elapsed());
    errors
}

#[tokio::test]
async fn a_server_that_refuses_is_an_error_until_it_is_there_again() {
    let (_server, mut proxy, store) = behind().await;
    insert(&store, &record(0, in_an_hour(), b"kept")).await;
    proxy.set(Way::Refuse).await;
    let named = format!("at the memcached server 127.0.0.1:{}", proxy.port());
    for error in all_fail(&store).await {
        assert_eq!(causes(&error)[1..3], [named.clone(), "the connection failed".to_owned()]);
    }
    proxy.set(Way::Open).await;
    assert_eq!(load(&store, ID).await, Some(record(0, in_an_hour(), b"kept")));
}

#[tokio::test]
async fn a_network_that_swallows_everything_is_an_error_at_the_deadline() {
    let (_server, mut proxy, store) = behind().await;
    insert(&store, &numbered(1)).await;
    proxy.set(Way::Stall).await;
    for error in all_fail(&store).await {
        assert_eq!(causes(&error).last().expect("a cause"), "no answer within 100ms");
    }
    proxy.set(Way::Open).await;
    assert_eq!(load(&store, numbered(1).id).await, Some(numbered(1)));
}

/// The kernel accepts for it.
#[tokio::test]
async fn a_server_that_has_stopped_is_an_error_at_the_deadline() {
    let (server, _proxy, store) = behind().await;
    insert(&store, &record(0, in_an_hour(), b"kept")).await;
    server.signal("STOP");
    all_fail(&store).await;
    server.signal("CONT");
    delete(&store, ID).await;
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_at_first_is_an_error_that_names_it() {
    let address = format!("127.0.0.1:{}", free_port());
    let error = failed(MemcachedStore::connect(&address).await);
    let causes = causes(&error);
    assert_eq!(causes[0], "the session store failed: connect to memcached");
    assert_eq!(causes[1], format!("at the memcached server {address}"));
    failed(MemcachedStore::connect("no port").await);
    failed(MemcachedStore::connect("").await);
}

#[tokio::test]
async fn a_reply_that_was_cut_anywhere_is_an_error_and_its_connection_is_gone() {
    let (_server, mut proxy, store) = behind().await;
    let kept = Record { sealed: vec![0x5e; 60], ..record(0, in_an_hour(), b"") };
    let mut cut = Vec::new();
    for octets in 0..400 {
        // The way is open at first, so that there is a connection that was used before.
        proxy.set(Way::Open).await;
        delete(&store, ID).await;
        insert(&store, &kept).await;
        proxy.set(Way::Cut(octets)).await;
        match store.load(&ID, 0).await {
            Ok(loaded) => {
                assert_eq!(loaded, Some(kept.clone()), "{octets} octets");
                break;
            }
            Err(error) => cut.push(error),
        }
        proxy.set(Way::Open).await;
        assert_eq!(load(&store, ID).await, Some(kept.clone()), "after {octets} octets");
    }
    assert!((100..200).contains(&cut.len()), "{} octets were a whole reply", cut.len());
    assert!(cut.iter().all(|error| !error.is_conflict()));
}

#[tokio::test]
async fn a_write_whose_reply_was_cut_anywhere_is_an_error() {
    let (_server, mut proxy, store) = behind().await;
    let mut whole = [false; 4];
    for octets in 0..60 {
        for (call, whole) in whole.iter_mut().enumerate() {
            proxy.set(Way::Open).await;
            // A load survives that its connection has ended behind the last whole reply, and a write need not.
            load(&store, ID).await;
            delete(&store, ID).await;
            if call > 0 {
                insert(&store, &record(0, in_an_hour(), b"first")).await;
                load(&store, ID).await;
            }
            proxy.set(Way::Cut(octets)).await;
            let done = match call {
                0 => store.save(&record(0, in_an_hour(), b"first"), Expect::Absent).await,
                1 => store.save(&record(1, in_an_hour(), b"second"), Expect::Version(0)).await,
                2 => store.delete(&ID, Some(0)).await,
                _ => store.delete(&ID, None).await,
            };
            if let Err(error) = &done {
                assert!(!error.is_conflict(), "call {call}, {octets} octets: {error}");
            }
            assert!(done.is_ok() || !*whole, "call {call} ends in fewer octets than {octets}");
            *whole |= done.is_ok();
        }
    }
    assert_eq!(whole, [true; 4]);
}

#[tokio::test]
async fn a_server_that_was_started_again_is_found_without_help_and_has_nothing() {
    let (mut server, proxy, store) = behind().await;
    for _ in 0..8 {
        insert(&store, &record(0, in_an_hour(), b"kept")).await;
        assert_eq!(load(&store, ID).await, Some(record(0, in_an_hour(), b"kept")));
        server.restart();
        assert_eq!(load(&store, ID).await, None);
    }
    drop(proxy);
    server.kill();
    all_fail(&store).await;
}

/// A new server counts from one again: the CAS unique that was seen on the old one is that of another version now.
#[tokio::test]
async fn what_was_seen_on_a_server_is_forgotten_when_it_is_started_again() {
    let mut server = Memcached::start(&[]);
    let (slow, fast) = (any(&server).await, any(&server).await);
    insert(&slow, &record(0, in_an_hour(), b"first")).await;
    load(&slow, ID).await;
    server.restart();
    load(&fast, numbered(1).id).await;
    insert(&fast, &record(7, in_an_hour(), b"repaired")).await;
    // It opens a new connection for this, but has not looked at the record.
    load(&slow, numbered(1).id).await;
    refused(slow.save(&record(1, in_an_hour(), b"late"), Expect::Version(0)).await);
    refused(slow.delete(&ID, Some(0)).await);
    assert_eq!(load(&fast, ID).await, Some(record(7, in_an_hour(), b"repaired")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn more_calls_than_connections_take_turns() {
    let server = Memcached::start(&[]);
    let store: AnyStore = Arc::new(connect(&server).await.with_connections(2));
    let runs: Vec<_> = (0..64)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                insert(&store, &named(n)).await;
                assert_eq!(load(&store, named(n).id).await, Some(named(n)));
            })
        })
        .collect();
    for run in runs {
        run.await.expect("none is refused");
    }
    let open = say(&server, "stats").await;
    let open = open.iter().find_map(|line| line.strip_prefix("STAT curr_connections ")).expect("it says so");
    // One that listens, the one that asks, and ours; that of the connect may just be ending.
    assert!((3..=5).contains(&open.parse::<u32>().expect("a number")), "{open} connections");
}

#[tokio::test]
async fn a_store_of_no_connections_has_one() {
    let server = Memcached::start(&[]);
    let store: AnyStore = Arc::new(connect(&server).await.with_connections(0));
    assert_eq!(load(&store, ID).await, None);
}

#[tokio::test]
async fn an_answer_that_memcached_never_gives_is_an_error() {
    let long = "x".repeat(5_000);
    for said in [
        "\r\n",
        "\n",
        "HELLO\r\n",
        "ERROR\r\n",
        "SERVER_ERROR out of everything\r\nHD {O}\r\n",
        "EN\r\n",
        "EN O1\r\n",
        "EN O\r\n",
        "EN {O}x\r\n",
        "en {O}\r\n",
        "EN {O}\n",
        "HD\r\n",
        "VA\r\n",
        "VA 17 {O}\r\n",
        "VA 17 c5 f1213483777 O1\r\n",
        "VA 17 c0 f1213483777 {O}\r\n",
        "VA 17 c-5 f1213483777 {O}\r\n",
        "VA 17 c5 fx {O}\r\n",
        "VA -1 c5 f1213483777 {O}\r\n",
        "VA x c5 f1213483777 {O}\r\n",
        "VA 99999999999 c5 f1213483777 {O}\r\nxx",
        "VA 18446744073709551615 c5 f1213483777 {O}\r\nxx",
        "VA 99999999999999999999999 c5 f1213483777 {O}\r\nxx",
        "VA 16 c5 f1213483777 {O}\r\n\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\r1",
        "VA 16 c5 f1213483777 {O}\r\n\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\r\n",
        "\u{fffd}\0\u{1}\r\n",
        &long,
    ] {
        let store = liar(said).await;
        for error in all_fail(&store).await {
            assert_ne!(causes(&error).last().expect("a cause"), "no answer within 100ms", "{said:?}");
        }
    }
}

/// Here the connection ends as it should, and only the answer does not.
#[tokio::test]
async fn an_answer_that_ends_too_early_is_an_error() {
    let whole = "VA 16 c5 f1213483777 {O}\r\n\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\r\n";
    for length in 0..whole.len() {
        let store = serve(move |mut stream: BufReader<TcpStream>| async move {
            if let Some(opaque) = request(&mut stream).await {
                let _ = stream.write_all(whole[..length].replace("{O}", &opaque).as_bytes()).await;
            }
        })
        .await;
        let error = failed(store.load(&ID, 0).await);
        assert_ne!(causes(&error).last().expect("a cause"), "no answer within 100ms", "{length} octets");
    }
}

/// One call learns that the server has gone, and the others need not learn it again, each from a connection of its own.
#[tokio::test]
async fn a_connection_that_is_not_answered_closes_those_that_nobody_uses() {
    let (gone, four) = (Arc::new(AtomicBool::new(false)), Arc::new(Barrier::new(4)));
    let is_gone = gone.clone();
    let store = serve(move |mut stream: BufReader<TcpStream>| {
        let (gone, four) = (is_gone.clone(), four.clone());
        let is_new = gone.load(Ordering::SeqCst);
        async move {
            while let Some(opaque) = request(&mut stream).await {
                match (gone.load(Ordering::SeqCst), is_new) {
                    (true, false) => std::future::pending().await,
                    (true, true) => {}
                    // So that there are four connections.
                    (false, _) => {
                        four.wait().await;
                    }
                }
                stream.write_all(format!("EN {opaque}\r\n").as_bytes()).await.expect("write");
            }
        }
    })
    .await;
    tokio::join!(load(&store, ID), load(&store, ID), load(&store, ID), load(&store, ID));
    gone.store(true, Ordering::SeqCst);
    failed(store.load(&ID, 0).await);
    assert_eq!(load(&store, ID).await, None);
}

/// What follows a whole answer is nobody's, least of all the next call's.
#[tokio::test]
async fn an_answer_that_goes_on_is_the_last_of_its_connection() {
    for more in ["EN {O}\r\n", "\r\n", "x"] {
        let store = liar(&format!("EN {{O}}\r\n{more}")).await;
        for _ in 0..8 {
            assert_eq!(load(&store, ID).await, None);
        }
    }
}

#[tokio::test]
async fn an_answer_that_never_ends_is_an_error_and_takes_no_memory() {
    for said in ["VA 67108863 c5 f1213483777 {O}\r\n", "", "SERVER_ERROR ", "VA ", "EN {O} "] {
        let store = endless(said).await;
        all_fail(&store).await;
    }
    let status = std::fs::read_to_string("/proc/self/status").expect("of this process");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it is there");
    let peak: u32 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    // A value may have as many octets as the largest, and a vector that grows twice as many.
    assert!(peak < 400 << 10, "{peak} kB");
}

#[tokio::test]
async fn what_is_no_memcached_is_refused_at_once() {
    for said in ["HTTP/1.1 400 Bad Request\r\n\r\n", "-ERR unknown command 'stats'\r\n", "ERROR\r\n"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it has one").to_string();
        let answer = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a client");
            stream.read_exact(&mut [0; 16]).await.expect("a request for its settings");
            stream.write_all(said.as_bytes()).await.expect("write");
        });
        let error = failed(MemcachedStore::connect(&address).await);
        let line = said.split("\r\n").next().expect("a line");
        assert_eq!(*causes(&error).last().expect("a cause"), format!("the server answered {line:?}"));
        answer.await.expect("it was asked");
    }
}

/// A server that is a memcached until the store has connected. Then it answers each request with `said`, where `{O}` is
/// the flag that it has to repeat, and keeps the connection.
async fn liar(said: &str) -> AnyStore {
    let said = said.to_owned();
    serve(move |mut stream: BufReader<TcpStream>| {
        let said = said.clone();
        async move {
            while let Some(opaque) = request(&mut stream).await {
                let said = said.replace("{O}", &opaque);
                if stream.write_all(said.as_bytes()).await.is_err() {
                    break;
                }
            }
        }
    })
    .await
}

/// The same, but then it goes on for as long as anybody reads.
async fn endless(said: &'static str) -> AnyStore {
    serve(move |mut stream: BufReader<TcpStream>| async move {
        if let Some(opaque) = request(&mut stream).await {
            let _ = stream.write_all(said.replace("{O}", &opaque).as_bytes()).await;
            while stream.write_all(&[b'x'; 1 << 12]).await.is_ok() {}
        }
    })
    .await
}

/// Reads a request, and gives the flag that proves its answer. The last line of any has one.
async fn request(stream: &mut BufReader<TcpStream>) -> Option<String> {
    loop {
        let mut line = Vec::new();
        if stream.read_until(b'\n', &mut line).await.ok()? == 0 {
            return None;
        }
        let line = String::from_utf8_lossy(&line);
        if let Some(opaque) = line.trim_end().rsplit(' ').next().filter(|flag| flag.starts_with('O')) {
            return Some(opaque.to_owned());
        }
    }
}

async fn serve<F: Future<Output = ()> + Send + 'static>(
    answer: impl Fn(BufReader<TcpStream>) -> F + Send + 'static,
) -> AnyStore {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it has one").to_string();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a client");
        let mut stream = BufReader::new(stream);
        stream.read_line(&mut String::new()).await.expect("a request for its settings");
        stream.write_all(b"STAT evictions off\r\nEND\r\n").await.expect("write");
        let opaque = request(&mut stream).await.expect("a request");
        stream.write_all(format!("EN {opaque}\r\n").as_bytes()).await.expect("write");
        tokio::spawn(answer(stream));
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(BufReader::new(stream)));
        }
    });
    Arc::new(MemcachedStore::connect(&address).await.expect("connect").with_deadline(SOON))
}
