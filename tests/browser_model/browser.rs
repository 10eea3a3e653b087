//! A browser's cookie store after RFC 6265bis (draft 22), with Chrome's limits: what it keeps, what it drops without a
//! word, and what it sends. The section numbers are the draft's.

#![allow(dead_code, reason = "each test that has a browser needs another part of it")]

use time::{Duration, OffsetDateTime};

/// The longest name and value together, in octets (section 5.6).
pub(crate) const MAX_NAME_AND_VALUE: usize = 4096;

/// The longest attribute value (section 5.6).
const MAX_ATTRIBUTE: usize = 1024;

/// The longest time that a cookie is kept (section 5.5).
const MAX_AGE: Duration = Duration::days(400);

/// How many cookies Chrome keeps for a site, and how many it leaves when there are more.
pub(crate) const MAX_PER_SITE: usize = 180;
pub(crate) const LEFT_AFTER_PURGE: usize = 150;

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Url {
    pub(crate) https: bool,
    pub(crate) host: &'static str,
    pub(crate) path: &'static str,
}

impl Url {
    pub(crate) const fn https(host: &'static str, path: &'static str) -> Self {
        Self { https: true, host, path }
    }

    pub(crate) const fn http(host: &'static str, path: &'static str) -> Self {
        Self { https: false, host, path }
    }

    /// The directory of the path (section 5.1.4).
    fn default_path(&self) -> &'static str {
        match self.path.rfind('/') {
            None | Some(0) => "/",
            Some(end) => &self.path[..end],
        }
    }
}

/// One cookie as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct Cookie {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) domain: String,
    pub(crate) host_only: bool,
    pub(crate) path: String,
    pub(crate) secure: bool,
    pub(crate) http_only: bool,
    pub(crate) expires: Option<OffsetDateTime>,
    /// Which of all cookies it was: the earlier is sent first. A replaced cookie hands its place on.
    created: u64,
    /// When it was last set or sent: the least recent is purged first.
    used: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Browser {
    cookies: Vec<Cookie>,
    clock: u64,
}

impl Browser {
    /// Takes a response's `Set-Cookie` value from `url` (sections 5.6 and 5.7). Whatever is wrong with it, the server
    /// does not hear of it.
    pub(crate) fn receive(&mut self, url: Url, field: &str, now: OffsetDateTime) {
        if let Some(cookie) = self.accept(url, field, now) {
            self.keep(cookie);
        }
        self.cookies.retain(|cookie| cookie.expires.is_none_or(|time| now < time));
        self.purge(site(url.host));
    }

    /// The cookies of a request to `url`, as `name=value`, in the order of section 5.8.3: longer paths first, and the
    /// earlier created first among equals.
    pub(crate) fn send(&mut self, url: Url, now: OffsetDateTime) -> Vec<String> {
        self.cookies.retain(|cookie| cookie.expires.is_none_or(|time| now < time));
        self.clock += 1;
        let mut sent: Vec<&mut Cookie> =
            self.cookies.iter_mut().filter(|cookie| is_sent(cookie, url)).collect();
        sent.sort_by_key(|cookie| (std::cmp::Reverse(cookie.path.len()), cookie.created));
        let write = |cookie: &mut Cookie| {
            cookie.used = self.clock;
            if cookie.name.is_empty() {
                cookie.value.clone()
            } else {
                format!("{}={}", cookie.name, cookie.value)
            }
        };
        sent.into_iter().map(write).collect()
    }

    /// Everything that is kept.
    pub(crate) fn cookies(&self) -> impl Iterator<Item = &Cookie> {
        self.cookies.iter()
    }

    /// Forgets what a person, another application or the browser itself removes.
    pub(crate) fn forget(&mut self, which: impl Fn(&Cookie) -> bool) {
        self.cookies.retain(|cookie| !which(cookie));
    }

    /// Ends the browser's session: cookies without an expiry are forgotten.
    pub(crate) fn close(&mut self) {
        self.forget(|cookie| cookie.expires.is_none());
    }

    fn accept(&mut self, url: Url, field: &str, now: OffsetDateTime) -> Option<Cookie> {
        if field.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
            return None;
        }
        let mut parts = field.split(';');
        let pair = parts.next().expect("splitting gives one part at least");
        let (name, value) = pair.split_once('=').unwrap_or(("", pair));
        let (name, value) = (trim(name), trim(value));
        if name.len() + value.len() > MAX_NAME_AND_VALUE || name.is_empty() && value.is_empty() {
            return None;
        }
        let mut attributes = Attributes::default();
        parts.for_each(|part| attributes.read(part, now));
        let (domain, host_only) = attributes.domain_for(url)?;
        let path = attributes.path.filter(|path| path.starts_with('/'));
        let whole_host = path.as_deref() == Some("/") && host_only && attributes.secure;
        let prefixed = |prefix| starts_with(name, prefix) || name.is_empty() && starts_with(value, prefix);
        let refused = attributes.secure && !url.https
            || attributes.same_site_none && !attributes.secure
            || name.is_empty() && (prefixed("__Secure-") || prefixed("__Host-"))
            || prefixed("__Secure-") && !attributes.secure
            || prefixed("__Host-") && !whole_host;
        let path = path.unwrap_or_else(|| url.default_path().to_owned());
        // A page over plain HTTP leaves secure cookies alone.
        let shadows = |other: &Cookie| {
            other.secure
                && other.name == name
                && (domain_matches(&other.domain, &domain) || domain_matches(&domain, &other.domain))
                && path_matches(&path, &other.path)
        };
        if refused || !url.https && self.cookies.iter().any(shadows) {
            return None;
        }
        self.clock += 1;
        Some(Cookie {
            name: name.to_owned(),
            value: value.to_owned(),
            domain,
            host_only,
            path,
            secure: attributes.secure,
            http_only: attributes.http_only,
            expires: attributes.expires,
            created: self.clock,
            used: self.clock,
        })
    }

    /// Puts a cookie in place of the one with its name, domain and path, if there is one.
    fn keep(&mut self, mut cookie: Cookie) {
        let same = |other: &Cookie| {
            (&other.name, &other.domain, other.host_only, &other.path)
                == (&cookie.name, &cookie.domain, cookie.host_only, &cookie.path)
        };
        if let Some(index) = self.cookies.iter().position(same) {
            cookie.created = self.cookies.swap_remove(index).created;
        }
        self.cookies.push(cookie);
    }

    fn purge(&mut self, of: &str) {
        let on_site = self.cookies.iter().filter(|cookie| site(&cookie.domain) == of);
        let mut by_use: Vec<_> = on_site.map(|cookie| (cookie.used, cookie.created)).collect();
        if by_use.len() > MAX_PER_SITE {
            by_use.sort_unstable();
            by_use.truncate(by_use.len() - LEFT_AFTER_PURGE);
            self.forget(|cookie| by_use.contains(&(cookie.used, cookie.created)));
        }
    }
}

#[derive(Default)]
struct Attributes {
    secure: bool,
    http_only: bool,
    same_site_none: bool,
    domain: Option<String>,
    path: Option<String>,
    expires: Option<OffsetDateTime>,
}

impl Attributes {
    /// Reads one attribute (sections 5.6.1 to 5.6.7); of several of one name the last counts. `Expires` is left out: no
    /// test sends it.
    fn read(&mut self, attribute: &str, now: OffsetDateTime) {
        let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
        let (name, value) = (trim(name).to_ascii_lowercase(), trim(value));
        if value.len() > MAX_ATTRIBUTE {
            return;
        }
        match name.as_str() {
            "secure" => self.secure = true,
            "httponly" => self.http_only = true,
            "samesite" => self.same_site_none = value.eq_ignore_ascii_case("none"),
            "domain" => {
                self.domain = Some(value.strip_prefix('.').unwrap_or(value).to_ascii_lowercase());
            }
            "path" => self.path = Some(value.to_owned()),
            "max-age" => self.expires = age(value).map(|age| now + age.min(MAX_AGE)).or(self.expires),
            _ => {}
        }
    }

    /// Whose cookie it is, and whether that host's alone. `None` if it may not be (section 5.7, steps 6 to 10).
    fn domain_for(&self, url: Url) -> Option<(String, bool)> {
        match self.domain.as_deref() {
            None | Some("") => Some((url.host.to_owned(), true)),
            Some(domain) if domain == url.host && !domain.contains('.') => Some((domain.to_owned(), true)),
            // A single label stands for the list of public suffixes.
            Some(domain) if !domain.contains('.') || !domain_matches(url.host, domain) => None,
            Some(domain) => Some((domain.to_owned(), false)),
        }
    }
}

/// `Max-Age`, if it is a number; less than zero counts as zero (section 5.6.2).
fn age(value: &str) -> Option<Duration> {
    let digits = value.strip_prefix('-').unwrap_or(value);
    let number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = if digits == value { digits.parse().unwrap_or(i64::MAX) } else { 0 };
    number.then_some(Duration::seconds(seconds))
}

fn is_sent(cookie: &Cookie, url: Url) -> bool {
    let host =
        if cookie.host_only { cookie.domain == url.host } else { domain_matches(url.host, &cookie.domain) };
    host && path_matches(url.path, &cookie.path) && (url.https || !cookie.secure)
}

/// Section 5.1.3.
fn domain_matches(host: &str, domain: &str) -> bool {
    host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
}

/// Section 5.1.4.
fn path_matches(path: &str, of: &str) -> bool {
    path.strip_prefix(of).is_some_and(|rest| rest.is_empty() || of.ends_with('/') || rest.starts_with('/'))
}

/// The registrable domain, where every public suffix is one label.
fn site(host: &str) -> &str {
    let dot = host.rfind('.').and_then(|last| host[..last].rfind('.'));
    dot.map_or(host, |dot| &host[dot + 1..])
}

fn starts_with(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}
