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
pub(crate) const FIELD: usize = "Set-Cookie: \r\n".len();

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
    /// The cookie for load balancers, which has a name of its own.
    Affinity,
}

/// Which cookies of a session a request carried, whether they opened or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Carried {
    states: u64,
    seen: bool,
    affinity: Option<[u8; AFFINITY_LEN]>,
}

impl Carried {
    pub(crate) fn insert(&mut self, role: Role) {
        match role {
            Role::State(index) => self.states |= 1 << index,
            Role::Seen => self.seen = true,
            Role::Affinity => {}
        }
    }

    /// Of several, the first counts.
    pub(crate) fn insert_affinity(&mut self, value: &[u8]) {
        self.affinity = self.affinity.or(Some(value.try_into().unwrap_or_default()));
    }

    /// What the load balancer saw; zeros where it was no tag.
    pub(crate) fn affinity(self) -> Option<[u8; AFFINITY_LEN]> {
        self.affinity
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
    pub(crate) affinity: Option<String>,
}

impl Default for Attributes {
    fn default() -> Self {
        Self {
            secure: true,
            same_site: SameSite::Lax,
            path: "/".into(),
            domain: None,
            persistent: true,
            affinity: None,
        }
    }
}

/// A session's cookies: the name, and the attributes as they stand behind every value.
#[derive(Debug)]
pub(crate) struct CookieSpec {
    name: String,
    affinity: Option<String>,
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
        let Attributes { affinity, persistent, .. } = attributes;
        Ok(Self { name: name.to_owned(), affinity: affinity.clone(), tail, persistent: *persistent })
    }

    /// Cookies of a name that was not checked: published test vectors have one with a dot.
    #[cfg(test)]
    pub(crate) fn unchecked(name: &str) -> Self {
        Self { name: name.to_owned(), affinity: None, tail: String::new(), persistent: false }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether there is a cookie for load balancers.
    pub(crate) fn has_affinity(&self) -> bool {
        self.affinity.is_some()
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
            let part = trim(part);
            let after = |name: &str| part.strip_prefix(name.as_bytes()).and_then(split_at_equals);
            if let Some((suffix, value)) = after(&self.name)
                && let Some(role) = role(trim_end(suffix))
            {
                return Some((role, trim(value)));
            }
            let (suffix, value) = after(self.affinity.as_ref()?)?;
            trim_end(suffix).is_empty().then_some((Role::Affinity, trim(value)))
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

    /// [`set`](Self::set) for the tag of load balancers.
    pub(crate) fn set_affinity(&self, tag: [u8; AFFINITY_LEN], max_age: u64) -> String {
        self.set(Role::Affinity, str::from_utf8(&tag).expect("letters"), max_age)
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
        match role {
            Role::State(0) => self.name.len(),
            Role::State(index) => self.name.len() + 1 + decimal_len(index.into()),
            Role::Seen => self.name.len() + SEEN.len(),
            Role::Affinity => self.affinity_name().len(),
        }
    }

    pub(crate) fn push_name(&self, role: Role, out: &mut String) {
        if role == Role::Affinity {
            return out.push_str(self.affinity_name());
        }
        out.push_str(&self.name);
        match role {
            Role::State(index @ 1..) => {
                out.push('.');
                push_decimal(index.into(), out);
            }
            Role::Seen => out.push_str(SEEN),
            Role::State(0) | Role::Affinity => {}
        }
    }

    fn affinity_name(&self) -> &str {
        self.affinity.as_deref().unwrap_or_default()
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

/// The letters of a tag for load balancers.
pub(crate) const AFFINITY_LEN: usize = 16;

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

/// Letters only: balancers read it by a variable of that name (`$cookie_node`), and compare without regard to case.
fn check_affinity(name: &str, affinity: &str) -> Result<(), BuildError> {
    let refuse = |why: &str| Err(BuildError::new("affinity", format!("{affinity:?} {why}")));
    if !(1..=64).contains(&affinity.len()) || !affinity.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return refuse("is not 1 to 64 letters");
    }
    if affinity.eq_ignore_ascii_case(name) {
        return refuse("is the name of the session's own cookie");
    }
    Ok(())
}

fn check_attributes(name: &str, attributes: &Attributes) -> Result<(), BuildError> {
    if let Some(affinity) = &attributes.affinity {
        check_affinity(name, affinity)?;
    }
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
mod tests;
