//! The page: the cart, and beside it the session that carries it. Plain HTML, no script.

mod cart;
mod inspector;

use std::fmt::{self, Display, Formatter};

use hardtack::{Placement, Session, Usage};
use time::OffsetDateTime;

use crate::Shop;
use crate::report::Sent;
use cart::Cart;
use inspector::Inspector;

/// Everything that the page shows.
pub(crate) struct Page<'a> {
    pub(crate) session: &'a Session<Shop>,
    pub(crate) usage: Usage,
    pub(crate) sent: Vec<Sent>,
    pub(crate) now: OffsetDateTime,
}

impl Display for Page<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            r##"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>The Biscuit Locker</title>
<link rel="icon" href="/biscuit.svg" type="image/svg+xml">
<link rel="stylesheet" href="/style.css">
</head>
<body>
<header class="top">
<a class="brand" href="/"><img src="/biscuit.svg" alt="" width="36" height="36"> <h1>The Biscuit Locker</h1></a>
{}
</header>
<p class="whereabouts">{} <a href="#session">Look inside</a></p>
<main>
{}
{}
</main>
<footer>
<p>Everything here works without JavaScript. The same figures for programs: <a href="/session.json">session.json</a></p>
</footer>
</body>
</html>
"##,
            User(self.session.user.as_deref()),
            Whereabouts(self.session.placement()),
            Cart(&self.session.cart),
            Inspector(self),
        )
    }
}

/// Who is logged in, and the way in or out.
struct User<'a>(Option<&'a str>);

impl Display for User<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(user) => write!(
                f,
                r#"<form class="user" method="post" action="/logout">
<p>Aboard as <strong><bdi>{}</bdi></strong></p> <button class="quiet">Log out</button>
</form>"#,
                Escaped(user)
            ),
            None => f.write_str(
                r#"<form class="user" method="post" action="/login">
<label for="user">Name</label>
<input id="user" name="user" required maxlength="40" autocomplete="username" placeholder="any will do">
<button>Log in</button>
</form>"#,
            ),
        }
    }
}

/// In one sentence, where the state is.
struct Whereabouts(Option<Placement>);

impl Display for Whereabouts {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("Your session has not begun."),
            Some(Placement::Cookies(1)) => f.write_str("Your session is in one cookie."),
            Some(Placement::Cookies(count)) => write!(f, "Your session is in {count} cookies."),
            Some(Placement::Stored) => f.write_str("Your session is in the database."),
        }
    }
}

/// Text as it may stand in an element or in a quoted attribute.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while let Some(at) = rest.find(['&', '<', '>', '"', '\'']) {
            let (plain, special) = rest.split_at(at);
            f.write_str(plain)?;
            f.write_str(match special.as_bytes()[0] {
                b'&' => "&amp;",
                b'<' => "&lt;",
                b'>' => "&gt;",
                b'"' => "&quot;",
                _ => "&#39;",
            })?;
            rest = &special[1..];
        }
        f.write_str(rest)
    }
}

/// `1,234`
struct Grouped(usize);

impl Display for Grouped {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.0 >= 1_000 {
            write!(f, "{},{:03}", Grouped(self.0 / 1_000), self.0 % 1_000)
        } else {
            write!(f, "{}", self.0)
        }
    }
}

/// `1 line`, `2 lines`
struct Count(usize, &'static str);

impl Display for Count {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(count, what) = *self;
        write!(f, "{} {what}{}", Grouped(count), if count == 1 { "" } else { "s" })
    }
}
