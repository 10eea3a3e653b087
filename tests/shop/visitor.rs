//! Somebody with a browser, on real sockets.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;
use time::OffsetDateTime;

use crate::answer::{Answer, FORM, encoded};
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
        self.send(shop, "POST", path, FORM, &encoded(fields))
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
