//! HTTP as a browser speaks it: connections are kept, and a request is sent again only where that can do no harm.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::answer::{Answer, FORM};

/// What a visitor asks for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) path: &'static str,
    /// The fields of a form that is posted. Without, the request is a `GET`.
    pub(crate) form: Option<String>,
}

/// A connection that is kept for the next request, if the last one has left it.
#[derive(Default)]
pub(crate) struct Connection(Option<TcpStream>);

impl Connection {
    /// The answer, or an error where it is not known whether the server has heard the request.
    ///
    /// Servers close kept connections at any time. A `GET` that meets this is sent once more, on a new connection; a
    /// `POST` may have been carried out.
    pub(crate) async fn send(&mut self, port: u16, request: &Request, cookies: &str) -> io::Result<Answer> {
        let kept = self.0.is_some();
        match self.try_send(port, request, cookies).await {
            Err(_) if kept && request.form.is_none() => self.try_send(port, request, cookies).await,
            done => done,
        }
    }

    async fn try_send(&mut self, port: u16, request: &Request, cookies: &str) -> io::Result<Answer> {
        let mut stream = match self.0.take().filter(is_open) {
            Some(stream) => stream,
            None => TcpStream::connect(("127.0.0.1", port)).await?,
        };
        stream.set_nodelay(true)?;
        stream.write_all(text(request, cookies).as_bytes()).await?;
        let answer = receive(&mut stream).await?;
        if !answer.all("connection").any(|value| value == "close") {
            self.0 = Some(stream);
        }
        Ok(answer)
    }
}

/// Whether the server has left the connection open so far: it has nothing to say on it before it is asked.
fn is_open(stream: &TcpStream) -> bool {
    stream.try_read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

fn text(Request { path, form }: &Request, cookies: &str) -> String {
    let cookies = if cookies.is_empty() { String::new() } else { format!("Cookie: {cookies}\r\n") };
    match form {
        None => format!("GET {path} HTTP/1.1\r\nHost: shop\r\n{cookies}\r\n"),
        Some(body) => format!(
            "POST {path} HTTP/1.1\r\nHost: shop\r\n{cookies}{FORM}Content-Length: {}\r\n\r\n{body}",
            body.len()
        ),
    }
}

async fn receive(stream: &mut TcpStream) -> io::Result<Answer> {
    let mut octets = Vec::new();
    loop {
        if let Some(len) = whole(&octets)
            && octets.len() >= len
        {
            return Ok(Answer::parse(&String::from_utf8_lossy(&octets)));
        }
        if stream.read_buf(&mut octets).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// How long the answer is, once its head is there.
fn whole(octets: &[u8]) -> Option<usize> {
    let end = octets.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&octets[..end]).to_ascii_lowercase();
    let (_, rest) =
        head.split_once("content-length: ").expect("every answer of the shop and of nginx has one");
    let (len, _) = rest.split_once("\r\n").expect("the head ends so");
    Some(end + len.parse::<usize>().expect("a number"))
}
