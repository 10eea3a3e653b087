//! A session's cookies by name: reading them from `Cookie` headers, writing them as `Set-Cookie`.

use cookie::Cookie;
pub use cookie::SameSite;

use crate::error::BuildError;

/// What a browser keeps of one cookie: name and value together, in octets. RFC 6265bis says 4096, section 5.6; Safari
/// keeps three less.
pub(crate) const MAX_NAME_AND_VALUE: usize = 4093;

/// The longest time a browser keeps a cookie, in seconds: 400 days (RFC 6265bis, section 5.5).
const MAX_AGE: u64 = 400 * 24 * 60 * 60;

/// The longest attribute value that a browser reads, in octets (RFC 6265bis, section 5.6).
const MAX_ATTRIBUTE: usize = 1024;

/// `Set-Cookie: ` before a value and the line end after it, in octets.
const FIELD: usize = "Set-Cookie: \r\n".len();

const MAX_AGE_ATTRIBUTE: &str = "; Max-Age=";

/// How many cookies a state may be split over: their numbers are one base64url digit.
pub(crate) const MAX_PARTS: u8 = 63;

/// Which of a session's cookies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// `NAME` for 0, `NAME.1` to `NAME.62` for the chunks behind it.
    State(u8),
    /// `NAME.seen`.
    Seen,
}

/// Which cookies of a session a request carried, whether they opened or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Carried {
    states: u64,
    seen: bool,
}

impl Carried {
    pub(crate) fn insert(&mut self, role: Role) {
        match role {
            Role::State(index) => self.states |= 1 << index,
            Role::Seen => self.seen = true,
        }
    }

    pub(crate) fn seen(self) -> bool {
        self.seen
    }

    /// The state cookies from number `first` on.
    pub(crate) fn states_from(self, first: u8) -> impl Iterator<Item = Role> {
        let mut left = self.states >> first << first;
        std::iter::from_fn(move || {
            let index = u8::try_from(left.trailing_zeros()).ok().filter(|&index| index < MAX_PARTS)?;
            left &= left - 1;
            Some(Role::State(index))
        })
    }
}

/// The cookie settings of a session as its builder took them.
#[derive(Clone, Debug)]
pub(crate) struct Attributes {
    pub(crate) secure: bool,
    pub(crate) same_site: SameSite,
    pub(crate) path: String,
    pub(crate) domain: Option<String>,
    pub(crate) persistent: bool,
}

impl Default for Attributes {
    fn default() -> Self {
        Self { secure: true, same_site: SameSite::Lax, path: "/".into(), domain: None, persistent: true }
    }
}

/// A session's cookies: the name, and the attributes as they stand behind every value.
#[derive(Debug)]
pub(crate) struct CookieSpec {
    name: String,
    tail: String,
    persistent: bool,
}

impl CookieSpec {
    /// Checks that a browser would keep cookies of this name and these attributes.
    pub(crate) fn new(name: &str, attributes: &Attributes) -> Result<Self, BuildError> {
        check_name(name)?;
        check_attributes(name, attributes)?;
        let mut cookie = Cookie::build((name, ""))
            .http_only(true)
            .secure(attributes.secure)
            .same_site(attributes.same_site)
            .path(attributes.path.as_str());
        if let Some(domain) = &attributes.domain {
            cookie = cookie.domain(domain.as_str());
        }
        // Rendered once: what stands behind each value is the same for every cookie, save its age.
        let rendered = cookie.build().to_string();
        let tail = rendered[name.len() + 1..].to_owned();
        Ok(Self { name: name.to_owned(), tail, persistent: attributes.persistent })
    }

    /// Cookies of a name that was not checked: published test vectors have one with a dot.
    #[cfg(test)]
    pub(crate) fn unchecked(name: &str) -> Self {
        Self { name: name.to_owned(), tail: String::new(), persistent: false }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The session's cookies among those of the request, in its order: each part of a header between semicolons whose
    /// name is one of ours to the octet. What a browser takes for another name must not become ours here, so nothing
    /// but spaces and tabs is trimmed (RFC 9110, section 5.6.3), and nothing is decoded.
    pub(crate) fn read<'h, H>(
        &self,
        headers: impl IntoIterator<Item = &'h H>,
    ) -> impl Iterator<Item = (Role, &'h [u8])>
    where
        H: AsRef<[u8]> + ?Sized + 'h,
    {
        headers.into_iter().flat_map(|header| parts(header.as_ref())).filter_map(|part| {
            let (name, value) = trim(part).strip_prefix(self.name.as_bytes()).and_then(split_at_equals)?;
            Some((role(trim_end(name))?, trim(value)))
        })
    }

    /// A `Set-Cookie` value for a browser that is to keep `value` for `max_age` seconds.
    pub(crate) fn set(&self, role: Role, value: &str, max_age: u64) -> String {
        let mut field = String::with_capacity(self.set_len(role, value.len(), max_age) - FIELD);
        self.push_name(role, &mut field);
        field.push('=');
        field.push_str(value);
        field.push_str(&self.tail);
        if self.persistent {
            field.push_str(MAX_AGE_ATTRIBUTE);
            push_decimal(max_age.min(MAX_AGE), &mut field);
        }
        field
    }

    /// A `Set-Cookie` value that makes a browser forget the cookie: the same name, path and domain, or it would not.
    pub(crate) fn expire(&self, role: Role) -> String {
        let mut field = String::with_capacity(self.expire_len(role) - FIELD);
        self.push_name(role, &mut field);
        field.push('=');
        field.push_str(&self.tail);
        field.push_str(MAX_AGE_ATTRIBUTE);
        field.push('0');
        field
    }

    /// The octets of the whole header field that [`set`](Self::set) makes of a value of this length.
    pub(crate) fn set_len(&self, role: Role, value: usize, max_age: u64) -> usize {
        let age =
            if self.persistent { MAX_AGE_ATTRIBUTE.len() + decimal_len(max_age.min(MAX_AGE)) } else { 0 };
        FIELD + self.name_len(role) + 1 + value + self.tail.len() + age
    }

    /// The octets of the whole header field that [`expire`](Self::expire) makes.
    pub(crate) fn expire_len(&self, role: Role) -> usize {
        FIELD + self.name_len(role) + 1 + self.tail.len() + MAX_AGE_ATTRIBUTE.len() + 1
    }

    /// By how much a cookie with a value of this length is longer than a browser keeps.
    pub(crate) fn excess(&self, role: Role, value: usize) -> usize {
        (self.name_len(role) + value).saturating_sub(MAX_NAME_AND_VALUE)
    }

    pub(crate) fn name_len(&self, role: Role) -> usize {
        self.name.len()
            + match role {
                Role::State(0) => 0,
                Role::State(index) => 1 + decimal_len(index.into()),
                Role::Seen => SEEN.len(),
            }
    }

    pub(crate) fn push_name(&self, role: Role, out: &mut String) {
        out.push_str(&self.name);
        match role {
            Role::State(0) => {}
            Role::State(index) => {
                out.push('.');
                push_decimal(index.into(), out);
            }
            Role::Seen => out.push_str(SEEN),
        }
    }
}

/// The parts of a header between its semicolons.
fn parts(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = memchr::memchr_iter(b';', header).chain([header.len()]);
    ends.scan(0, |start, end| Some(&header[std::mem::replace(start, end + 1)..end]))
}

fn split_at_equals(part: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b'=', part)?;
    Some((&part[..end], &part[end + 1..]))
}

fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = text {
        text = rest;
    }
    trim_end(text)
}

fn trim_end(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// Which of a session's cookies has its name followed by this.
fn role(suffix: &[u8]) -> Option<Role> {
    match suffix {
        b"" => Some(Role::State(0)),
        [b'.', digit @ b'1'..=b'9'] => Some(Role::State(digit - b'0')),
        [b'.', tens @ b'1'..=b'6', ones @ b'0'..=b'9'] => {
            let index = (tens - b'0') * 10 + (ones - b'0');
            (index < MAX_PARTS).then_some(Role::State(index))
        }
        _ => (suffix == SEEN.as_bytes()).then_some(Role::Seen),
    }
}

const SEEN: &str = ".seen";

fn check_name(name: &str) -> Result<(), BuildError> {
    let refuse = |why: &str| Err(BuildError::new("name", format!("{name:?} {why}")));
    if name.is_empty() {
        return refuse("is empty");
    }
    if name.len() > 256 {
        return refuse("is longer than 256 octets");
    }
    if name.contains('.') {
        return refuse("has a dot, which is kept for chunks (NAME.1) and the seen cookie (NAME.seen)");
    }
    // RFC 9110 section 5.6.2: the characters of a token.
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-^_`|~".contains(&byte)) {
        return refuse("has a character that a cookie name may not have");
    }
    Ok(())
}

fn check_attributes(name: &str, attributes: &Attributes) -> Result<(), BuildError> {
    // Browsers compare the prefixes without regard to case (RFC 6265bis, section 5.7).
    let lower = name.to_ascii_lowercase();
    let host = lower.starts_with("__host-");
    let secure = host || lower.starts_with("__secure-") || lower.starts_with("__http-");
    if secure && !attributes.secure {
        let why =
            format!("a browser keeps {name} only with Secure; plain HTTP needs a name without the prefix");
        return Err(BuildError::new("insecure", why));
    }
    if host && attributes.domain.is_some() {
        return Err(BuildError::new("domain", format!("a browser keeps {name} only without a Domain")));
    }
    if host && attributes.path != "/" {
        return Err(BuildError::new("path", format!("a browser keeps {name} only with Path=/")));
    }
    if attributes.same_site == SameSite::None && !attributes.secure {
        return Err(BuildError::new("same_site", "a browser keeps SameSite=None only with Secure"));
    }
    if !attributes.path.starts_with('/') {
        return Err(BuildError::new("path", format!("{:?} does not start with a slash", attributes.path)));
    }
    let domain = attributes.domain.as_deref().unwrap_or("a");
    if domain.is_empty() || domain.starts_with('.') || domain.contains(|c: char| !is_host_character(c)) {
        return Err(BuildError::new("domain", format!("{domain:?} is not a host name")));
    }
    for (setting, value) in [("path", attributes.path.as_str()), ("domain", domain)] {
        if value.len() > MAX_ATTRIBUTE {
            return Err(BuildError::new(setting, "longer than the 1024 octets that browsers read"));
        }
        if value.contains(|c: char| !c.is_ascii_graphic() || c == ';') {
            return Err(BuildError::new(setting, "has a character that a cookie attribute may not have"));
        }
    }
    Ok(())
}

fn is_host_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '.')
}

fn decimal_len(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

fn push_decimal(mut number: u64, out: &mut String) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + u8::try_from(number % 10).expect("a digit");
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.push_str(str::from_utf8(&digits[start..]).expect("digits"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str) -> CookieSpec {
        CookieSpec::new(name, &Attributes::default()).expect("a name that works")
    }

    #[track_caller]
    fn refused(name: &str, change: impl FnOnce(&mut Attributes), message: &str) {
        let mut attributes = Attributes::default();
        change(&mut attributes);
        assert_eq!(CookieSpec::new(name, &attributes).unwrap_err().to_string(), message);
    }

    fn read<'h>(name: &str, headers: &[&'h [u8]]) -> Vec<(Role, &'h str)> {
        let text = |value| str::from_utf8(value).expect("these values are text");
        spec(name).read(headers.iter().copied()).map(|(role, value)| (role, text(value))).collect()
    }

    #[test]
    fn names_that_a_browser_would_not_send_back_are_refused() {
        refused("", |_| (), "name: \"\" is empty");
        refused("a b", |_| (), "name: \"a b\" has a character that a cookie name may not have");
        refused("a=b", |_| (), "name: \"a=b\" has a character that a cookie name may not have");
        refused(
            "sitzung\u{e4}",
            |_| (),
            "name: \"sitzung\u{e4}\" has a character that a cookie name may not have",
        );
        refused(
            "a.1",
            |_| (),
            "name: \"a.1\" has a dot, which is kept for chunks (NAME.1) and the seen cookie (NAME.seen)",
        );
    }

    #[test]
    fn what_the_prefix_rules_forbid_is_refused() {
        let domain = |a: &mut Attributes| a.domain = Some("example.com".into());
        let path = |a: &mut Attributes| a.path = "/app".into();
        let plain = |a: &mut Attributes| a.secure = false;
        refused("__Host-s", domain, "domain: a browser keeps __Host-s only without a Domain");
        refused("__hOST-s", domain, "domain: a browser keeps __hOST-s only without a Domain");
        refused("__Host-s", path, "path: a browser keeps __Host-s only with Path=/");
        for name in ["__Host-s", "__Secure-s", "__Http-s"] {
            let why = format!(
                "insecure: a browser keeps {name} only with Secure; plain HTTP needs a name without the prefix"
            );
            refused(name, plain, &why);
        }
        let none = |a: &mut Attributes| (a.secure, a.same_site) = (false, SameSite::None);
        refused("s", none, "same_site: a browser keeps SameSite=None only with Secure");
    }

    #[test]
    fn attributes_cannot_smuggle_others_in() {
        let path = |a: &mut Attributes| a.path = "/; Domain=evil".into();
        refused("s", path, "path: has a character that a cookie attribute may not have");
        let domain = |a: &mut Attributes| a.domain = Some("a; HttpOnly".into());
        refused("s", domain, "domain: \"a; HttpOnly\" is not a host name");
        refused("s", |a| a.path = "app".into(), "path: \"app\" does not start with a slash");
        let long = |a: &mut Attributes| a.path = format!("/{}", "a".repeat(1024));
        refused("s", long, "path: longer than the 1024 octets that browsers read");
    }

    #[test]
    fn the_lengths_foretold_are_those_written() {
        let mut attributes = Attributes { domain: Some("example.com".into()), ..Attributes::default() };
        for persistent in [true, false] {
            attributes.persistent = persistent;
            let spec = CookieSpec::new("sid", &attributes).expect("a name that works");
            for role in [Role::State(0), Role::State(9), Role::State(62), Role::Seen] {
                assert_eq!(spec.expire_len(role), FIELD + spec.expire(role).len());
                for max_age in [0, 9, 10, 86_400, MAX_AGE, u64::MAX] {
                    let set = spec.set(role, "value", max_age);
                    assert_eq!(spec.set_len(role, 5, max_age), FIELD + set.len());
                }
            }
        }
    }

    #[test]
    fn a_cookie_says_what_browsers_expect_and_keeps_no_longer_than_they_do() {
        let spec = spec("__Host-session");
        assert_eq!(
            spec.set(Role::State(0), "v", u64::MAX),
            "__Host-session=v; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=34560000"
        );
        assert_eq!(
            spec.expire(Role::State(2)),
            "__Host-session.2=; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=0"
        );
    }

    #[test]
    fn only_cookies_of_exactly_our_names_are_read() {
        let header = b"sid=a; sidx=b; sid.1=c; sid.01=d; sid.63=e; sid.62=f; sid.0=g; sid.=h; sid.seen=i; \
                       sid.seen2=j; SID=k; xsid=l; sid.-1=m; sid.+1=n";
        assert_eq!(
            read("sid", &[header]),
            [(Role::State(0), "a"), (Role::State(1), "c"), (Role::State(62), "f"), (Role::Seen, "i")]
        );
    }

    #[test]
    fn every_header_field_is_read_and_other_peoples_bytes_are_no_obstacle() {
        let headers: [&[u8]; 4] = [b"a=\xff\xfe; sid=1", b"\xff", b"sid.1=2;;; =; sid", b" sid=3 ;\tsid = 4"];
        assert_eq!(
            read("sid", &headers),
            [(Role::State(0), "1"), (Role::State(1), "2"), (Role::State(0), "3"), (Role::State(0), "4")]
        );
    }

    #[test]
    fn what_a_browser_takes_for_another_name_is_not_ours() {
        // In most of these a browser does not see the prefix, so a sibling domain may set them.
        for part in [
            "x\u{ff}__Host-sid=a".as_bytes(),
            b"\xff__Host-sid=a",
            b"x=\xff__Host-sid=a",
            b"=__Host-sid=a",
            "\u{a0}__Host-sid=a".as_bytes(),
            "\u{2003}__Host-sid=a".as_bytes(),
            "__Host-sid\u{a0}=a".as_bytes(),
            b"\x0b__Host-sid=a",
            b"__Host-sid .1=a",
            b"__Host-sid\t.seen=a",
            b"__Host-sid\x0c=a",
        ] {
            assert_eq!(read("__Host-sid", &[part]), []);
            let around = [b"__Host-sid=1;", part, b"; __Host-sid=2"].concat();
            assert_eq!(read("__Host-sid", &[&around]), [(Role::State(0), "1"), (Role::State(0), "2")]);
        }
    }

    #[test]
    fn nothing_but_spaces_and_tabs_is_taken_off_a_value() {
        let values = [
            ("\t a \t", "a"),
            ("\"a\"", "\"a\""),
            ("%61", "%61"),
            ("a=b", "a=b"),
            ("\u{a0}a\u{a0}", "\u{a0}a\u{a0}"),
        ];
        for (sent, value) in values {
            assert_eq!(read("sid", &[format!("sid={sent}").as_bytes()]), [(Role::State(0), value)]);
        }
    }
}
