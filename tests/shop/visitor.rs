//! Somebody with a browser, on real sockets.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;
use time::OffsetDateTime;

use crate::browser::{Browser, Url};
use crate::server::Shop;

/// Somebody with a browser.
#[derive(Clone, Default)]
pub(crate) struct Visitor {
    pub(crate) jar: Browser,
    pub(crate) https: bool,
}

impl Visitor {
    #[track_caller]
    pub(crate) fn get(&mut self, shop: &Shop, path: &str) -> Answer {
        self.send(shop, "GET", path, "", "")
    }

    #[track_caller]
    pub(crate) fn post(&mut self, shop: &Shop, path: &str, fields: &[(&str, &str)]) -> Answer {
        let fields = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value)));
        self.send(shop, "POST", path, FORM, &fields.collect::<Vec<_>>().join("&"))
    }

    /// [`post`](Self::post) with nothing to complain about.
    #[track_caller]
    pub(crate) fn accepted(&mut self, shop: &Shop, path: &str, fields: &[(&str, &str)]) {
        let answer = self.post(shop, path, fields);
        assert_eq!(answer.status, 303, "{}", answer.body);
        assert_eq!(answer.one("location"), "/");
    }

    #[track_caller]
    pub(crate) fn session(&mut self, shop: &Shop) -> Value {
        self.get(shop, "/session.json").json()
    }

    /// A request on a connection of its own, with the jar's cookies, which takes those of the answer.
    #[track_caller]
    pub(crate) fn send(
        &mut self,
        shop: &Shop,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> Answer {
        let cookies = match self.cookie_header() {
            cookies if cookies.is_empty() => cookies,
            cookies => format!("Cookie: {cookies}\r\n"),
        };
        let (host, len) = (shop.address.as_str(), body.len());
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {len}\r\n\
             {cookies}{headers}\r\n{body}"
        );
        let mut connection = TcpStream::connect(host).expect("the shop listens");
        connection.write_all(request.as_bytes()).expect("the shop reads");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("the shop answers");
        let answer = Answer::parse(&answer);
        for field in answer.all("set-cookie") {
            self.jar.receive(self.url(), field, OffsetDateTime::now_utc());
        }
        answer
    }

    fn url(&self) -> Url {
        Url { https: self.https, host: "127.0.0.1", path: "/" }
    }

    /// What the jar sends.
    pub(crate) fn cookie_header(&self) -> String {
        self.jar.clone().send(self.url(), OffsetDateTime::now_utc()).join("; ")
    }

    pub(crate) fn jar_names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.jar.cookies().map(|cookie| cookie.name.as_str()).collect();
        names.sort_unstable();
        names
    }
}

/// The header of a form as browsers send it.
pub(crate) const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

/// A response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status line");
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        let answer = Self { status: status.parse().expect("a number"), headers, body: body.to_owned() };
        assert_eq!(answer.one("content-length"), body.len().to_string());
        answer
    }

    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers.iter().filter(move |(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub(crate) fn one(&self, name: &str) -> &str {
        let values: Vec<_> = self.all(name).collect();
        assert_eq!(values.len(), 1, "{name}: {values:?}");
        values[0]
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!((self.status, self.one("content-type")), (200, "application/json"));
        serde_json::from_str(&self.body).expect("JSON")
    }
}

/// As a browser encodes a field of a form, and more than it would.
fn encoded(value: &str) -> String {
    value.bytes().fold(String::new(), |text, byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => text + char::from(byte).encode_utf8(&mut [0]),
        _ => text + &format!("%{byte:02X}"),
    })
}
