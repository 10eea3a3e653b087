//! The network between a client and a server, which a test can break, and which counts round trips.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What becomes of what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// It arrives.
    Open,
    /// Connections are refused, and those that there are were reset.
    Refuse,
    /// Nothing arrives any more, in either direction, and nobody is told.
    Stall,
    /// Requests arrive; of each connection's replies so many more octets do, and then the connection ends.
    Cut(usize),
}

/// A TCP proxy in front of a server on this machine.
pub(crate) struct Proxy {
    port: u16,
    to: u16,
    way: watch::Sender<Way>,
    round_trips: Arc<AtomicU64>,
    listening: Option<JoinHandle<()>>,
}

impl Proxy {
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let own = listener.local_addr().expect("it has one").port();
        let mut proxy = Self {
            port: own,
            to: port,
            way: watch::Sender::new(Way::Open),
            round_trips: Arc::default(),
            listening: None,
        };
        proxy.listen(listener);
        proxy
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// How often a client has sent something after it had got an answer, or for the first time on its connection.
    pub(crate) fn round_trips(&self) -> u64 {
        self.round_trips.load(Ordering::SeqCst)
    }

    /// Changes the way for the connections that there are, and for those to come.
    pub(crate) async fn set(&mut self, way: Way) {
        self.way.send_replace(way);
        if way == Way::Refuse {
            if let Some(listening) = self.listening.take() {
                listening.abort();
                // Once it has ended, its port is closed.
                let _ = listening.await;
            }
        } else if self.listening.is_none() {
            self.listen(TcpListener::bind(("127.0.0.1", self.port)).await.expect("it was ours"));
        }
    }

    fn listen(&mut self, listener: TcpListener) {
        let (way, to, round_trips) = (self.way.subscribe(), self.to, self.round_trips.clone());
        self.listening = Some(tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // It ends with its connection, or with the proxy, whose `way` it watches.
                tokio::spawn(carry(client, to, way.clone(), round_trips.clone()));
            }
        }));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.way.send_replace(Way::Refuse);
        if let Some(listening) = self.listening.take() {
            listening.abort();
        }
    }
}

/// Carries one connection until either side ends it, or the way does.
async fn carry(
    mut client: TcpStream,
    to: u16,
    mut way: watch::Receiver<Way>,
    round_trips: Arc<AtomicU64>,
) -> io::Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", to)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut asked, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut waiting = false;
    let mut left = cut(*way.borrow());
    loop {
        let now = *way.borrow();
        tokio::select! {
            changed = way.changed() => {
                changed.map_err(io::Error::other)?;
                left = cut(*way.borrow());
                if *way.borrow() == Way::Refuse {
                    return reset(&client, &server);
                }
            }
            read = client.read(&mut asked), if now != Way::Stall => {
                let read = read?;
                if read == 0 {
                    return Ok(());
                }
                if !std::mem::replace(&mut waiting, true) {
                    round_trips.fetch_add(1, Ordering::SeqCst);
                }
                server.write_all(&asked[..read]).await?;
            }
            read = server.read(&mut answered), if now != Way::Stall => {
                let read = read?;
                if read == 0 {
                    return Ok(());
                }
                waiting = false;
                let sent = read.min(left);
                client.write_all(&answered[..sent]).await?;
                left -= sent;
                if left == 0 {
                    return reset(&client, &server);
                }
            }
        }
    }
}

fn cut(way: Way) -> usize {
    if let Way::Cut(octets) = way { octets } else { usize::MAX }
}

fn reset(client: &TcpStream, server: &TcpStream) -> io::Result<()> {
    client.set_zero_linger()?;
    server.set_zero_linger()
}
