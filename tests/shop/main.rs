//! The shop of the examples as a browser meets it: the real program, real sockets, and a kill in between.
#![cfg(all(feature = "axum", feature = "sqlite", feature = "fs"))]

mod answer;
#[path = "../browser_model/browser.rs"]
mod browser;
mod program;
mod server;
mod visitor;

use std::collections::BTreeSet;
use std::net::TcpStream;

use serde_json::{Value, json};

use answer::{Answer, FORM};
use server::{Shop, command};
use visitor::Visitor;

#[test]
fn a_cart_grows_from_a_cookie_into_the_database_and_back_while_the_server_is_killed_again_and_again() {
    let mut shop = Shop::open(&[]);
    let mut visitor = Visitor::default();
    let fresh = visitor.session(&shop);
    assert_eq!(fresh["bytes"]["budget"], 3000);
    assert_eq!(without_bytes(fresh), nothing());
    assert_eq!(visitor.jar_names(), [""; 0]);

    let goods = ["Ship's biscuit, plain", "Lime cordial", "Ginger snaps", "Lime cordial", "Dried apricots"];
    for (done, name) in (1..).zip(goods) {
        visitor.accepted(&shop, "/cart", &[("name", name), ("qty", "2")]);
        is_kept(&visitor, &shop, "cookie", 1, done);
    }
    shop.restart();
    is_kept(&visitor, &shop, "cookie", 1, 5);
    let page = visitor.get(&shop, "/").body;
    in_order(
        &page,
        &["Dried apricots", "Lime cordial", "Ginger snaps", "Lime cordial", "Ship&#39;s biscuit"],
    );
    assert_eq!(visitor.jar_names(), ["shop"]);

    visitor.accepted(&shop, "/cart/fill", &[("n", "200")]);
    is_kept(&visitor, &shop, "stored", 1, 205);
    shop.restart();
    is_kept(&visitor, &shop, "stored", 1, 205);
    assert!(visitor.get(&shop, "/").body.contains("In the database"));
    assert_eq!(visitor.jar_names(), ["shop"]);

    visitor.accepted(&shop, "/cart/clear", &[]);
    is_kept(&visitor, &shop, "cookie", 1, 0);
    shop.restart();
    is_kept(&visitor, &shop, "cookie", 1, 0);
    assert_eq!(visitor.jar_names(), ["shop"]);
    assert!(visitor.cookie_header().len() < 200, "205 lines left {}", visitor.cookie_header());
}

#[test]
fn with_two_cookies_a_middling_cart_takes_both_and_leaves_none_behind() {
    let mut shop = Shop::open(&[("SESSION_COOKIES", "2")]);
    for lines in [45, 50, 60] {
        let mut visitor = Visitor::default();
        visitor.accepted(&shop, "/cart/fill", &[("n", &lines.to_string())]);
        is_kept(&visitor, &shop, "cookies", 2, lines);
        assert_eq!(visitor.jar_names(), ["shop", "shop.1"]);
        shop.restart();
        is_kept(&visitor, &shop, "cookies", 2, lines);
        assert!(visitor.get(&shop, "/").body.contains("In 2 cookies"));

        visitor.accepted(&shop, "/cart/fill", &[("n", "200")]);
        is_kept(&visitor, &shop, "stored", 1, lines + 200);
        assert_eq!(visitor.jar_names(), ["shop"]);

        visitor.accepted(&shop, "/cart/clear", &[]);
        visitor.accepted(&shop, "/cart/fill", &[("n", &lines.to_string())]);
        is_kept(&visitor, &shop, "cookies", 2, lines);
        visitor.accepted(&shop, "/cart/clear", &[]);
        is_kept(&visitor, &shop, "cookie", 1, 0);
        assert_eq!(visitor.jar_names(), ["shop"]);
    }
}

#[test]
fn without_cookies_for_it_every_cart_is_in_the_store_that_the_settings_name() {
    let shop = Shop::open(&[("SESSION_COOKIES", "0"), ("SESSION_STORE", "sqlite:carts.db")]);
    let mut visitor = Visitor::default();
    visitor.accepted(&shop, "/cart", &[("name", "Lime cordial"), ("qty", "1")]);
    is_kept(&visitor, &shop, "stored", 1, 1);
    assert!(shop.folder.path().join("carts.db").exists());
    assert!(!shop.folder.path().join("sessions.db").exists());
}

#[test]
fn the_password_of_a_store_is_not_told_at_the_start() {
    let shop = Shop::open(&[("SESSION_STORE", "memory://ada:secret@host/carts?password=secret")]);
    assert!(shop.said.contains("large carts in memory://host/carts."), "{}", shop.said);
    assert!(!shop.said.contains("secret") && !shop.said.contains("ada"), "{}", shop.said);
}

#[test]
fn a_cookie_for_load_balancers_comes_with_the_session_where_one_is_named() {
    let shop = Shop::open(&[("SESSION_AFFINITY", "shopnode")]);
    let mut visitor = Visitor::default();
    visitor.accepted(&shop, "/cart", &[("name", "Lime cordial"), ("qty", "1")]);
    assert_eq!(visitor.jar_names(), ["shop", "shopnode"]);
    visitor.accepted(&shop, "/logout", &[]);
    assert_eq!(visitor.jar_names(), [""; 0]);
}

#[test]
fn a_cart_is_told_as_json_with_its_lines_and_its_owner() {
    let shop = Shop::open(&[]);
    let mut visitor = Visitor::default();
    assert_eq!(visitor.get(&shop, "/cart.json").json(), json!({ "user": null, "cart": [] }));
    visitor.accepted(&shop, "/login", &[("user", "Ada")]);
    visitor.accepted(&shop, "/cart", &[("name", "Lime cordial"), ("qty", "2")]);
    let cart = visitor.get(&shop, "/cart.json").json();
    assert_eq!((&cart["user"], cart["cart"].as_array().map(Vec::len)), (&json!("Ada"), Some(1)));
    assert_eq!((&cart["cart"][0]["name"], &cart["cart"][0]["qty"]), (&json!("Lime cordial"), &json!(2)));
}

#[test]
fn the_figure_in_the_inspector_is_what_was_sent() {
    for (settings, lines) in [(&[][..], 5), (&[][..], 200), (&[("SESSION_COOKIES", "2")][..], 50)] {
        let shop = Shop::open(settings);
        let mut visitor = Visitor::default();
        let answer = visitor.post(&shop, "/cart/fill", &[("n", &lines.to_string())]);
        let sent: usize = answer.all("set-cookie").map(|value| "Set-Cookie: \r\n".len() + value.len()).sum();
        assert_eq!(visitor.session(&shop)["bytes"]["header"], sent, "{lines} lines");
    }
}

#[test]
fn a_line_can_be_taken_out_of_the_cart_again() {
    let shop = Shop::open(&[]);
    let mut visitor = Visitor::default();
    for name in ["One", "Two", "Three"] {
        visitor.accepted(&shop, "/cart", &[("name", name), ("qty", "1")]);
    }
    let page = visitor.get(&shop, "/").body;
    let button = page.split("name=\"line\" value=\"").nth(2).expect("the second line's button");
    let (id, _) = button.split_once('"').expect("the end of the value");
    visitor.accepted(&shop, "/cart/remove", &[("line", id)]);
    let page = visitor.get(&shop, "/").body;
    in_order(&page, &["Three", "One", "Total"]);
    assert!(!page.contains("<bdi>Two"));
}

#[test]
fn logging_in_reseals_the_cart_under_a_new_id_and_logging_out_leaves_nothing() {
    let shop = Shop::open(&[]);
    let mut visitor = Visitor::default();
    visitor.accepted(&shop, "/cart", &[("name", "Lime cordial"), ("qty", "1")]);
    let (cookie, before) = (visitor.cookie_header(), visitor.session(&shop));

    visitor.accepted(&shop, "/login", &[("user", "Ada")]);
    let after = visitor.session(&shop);
    assert_ne!(visitor.cookie_header(), cookie);
    assert_eq!((&after["user"], &after["items"]), (&json!("Ada"), &json!(1)));
    assert_eq!((&after["key_id"], &after["created_at"]), (&before["key_id"], &before["created_at"]));
    let page = visitor.get(&shop, "/").body;
    assert!(page.contains("Aboard as <strong><bdi>Ada</bdi></strong>"));
    assert!(page.contains("<dt>Authenticated</dt><dd><time "));

    visitor.accepted(&shop, "/logout", &[]);
    assert_eq!(visitor.jar_names(), [""; 0]);
    assert_eq!(without_bytes(visitor.session(&shop)), nothing());
}

#[test]
fn what_a_stored_session_was_before_login_and_logout_is_worth_nothing_after_them() {
    let shop = Shop::open(&[]);
    let mut visitor = Visitor::default();
    visitor.accepted(&shop, "/cart/fill", &[("n", "200")]);
    let mut planted = visitor.clone();
    visitor.accepted(&shop, "/login", &[("user", "Ada")]);
    let mut stolen = visitor.clone();
    is_kept(&visitor, &shop, "stored", 1, 200);
    is_kept(&stolen, &shop, "stored", 1, 200);
    assert_eq!(without_bytes(planted.session(&shop)), nothing());

    visitor.accepted(&shop, "/logout", &[]);
    assert_eq!(without_bytes(stolen.session(&shop)), nothing());
    assert!(stolen.get(&shop, "/").body.contains("the store has no record of it"));
}

#[test]
fn names_are_text_wherever_they_stand() {
    let shop = Shop::open(&[]);
    let mut visitor = Visitor::default();
    let hostile = [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "' style='color:red",
        "</bdi></strong><h1>Sale",
        "&lt;b&gt; &amp; 'co'",
    ];
    for name in hostile {
        visitor.accepted(&shop, "/cart", &[("name", name), ("qty", "1")]);
        visitor.accepted(&shop, "/login", &[("user", name)]);
        let answer = visitor.get(&shop, "/");
        assert_eq!(answer.body.matches("<script").count() + answer.body.matches("<img src=x").count(), 0);
        assert_eq!(answer.body.matches("<h1>").count(), 1);
        assert!(!answer.body.contains("' style='"));
        assert_eq!(visitor.session(&shop)["user"], name);
    }
    let page = visitor.get(&shop, "/").body;
    assert!(page.contains("<bdi>&lt;script&gt;alert(1)&lt;/script&gt;</bdi>"));
    assert!(page.contains("<bdi>&quot;&gt;&lt;img src=x onerror=alert(1)&gt;</bdi>"));
    assert!(page.contains("<bdi>&amp;lt;b&amp;gt; &amp;amp; &#39;co&#39;</bdi>"));
}

#[test]
fn every_response_forbids_scripts_and_caching_and_no_link_is_dead() {
    let shop = Shop::open(&[]);
    let mut visitor = Visitor::default();
    let policy = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; \
                  frame-ancestors 'none'";
    let page = visitor.get(&shop, "/");
    assert!(!page.body.contains("<script") && !page.body.contains("style="));
    let links = ["href", "src"].map(|name| format!("{name}=\"/"));
    let links = links.iter().flat_map(|start| page.body.split(start.as_str()).skip(1));
    let links: BTreeSet<_> = links.filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(Vec::from_iter(&links), [&"", &"biscuit.svg", &"session.json", &"style.css"]);
    for path in links.into_iter().chain(["no/such/page"]) {
        let answer = visitor.get(&shop, &format!("/{path}"));
        assert_eq!(answer.status, if path == "no/such/page" { 404 } else { 200 }, "{path}");
        assert_eq!(answer.one("content-security-policy"), policy, "{path}");
        assert_eq!(answer.one("x-content-type-options"), "nosniff", "{path}");
        assert!(["no-store", "no-cache"].contains(&answer.one("cache-control")), "{path}");
    }
}

#[test]
fn what_a_form_does_not_take_is_a_400_that_says_why_and_changes_nothing() {
    let shop = Shop::open(&[]);
    let mut visitor = Visitor::default();
    visitor.accepted(&shop, "/cart", &[("name", "Lime cordial"), ("qty", "99")]);
    let before = visitor.session(&shop);
    let (qty, n) = ("a whole number from 1 to 99 is wanted", "a whole number from 1 to 1000 is wanted");
    let (name, user) = ("name: 1 to 80 characters are wanted", "user: 1 to 40 characters are wanted");
    let refused = [
        ("/cart", "name=Tea&qty=0", qty),
        ("/cart", "name=Tea&qty=100", qty),
        ("/cart", "name=Tea&qty=-1", qty),
        ("/cart", "name=Tea&qty=1.5", qty),
        ("/cart", "name=Tea&qty=many", qty),
        ("/cart", "name=Tea&qty=", qty),
        ("/cart", "name=Tea", "missing field `qty`"),
        ("/cart", "name=Tea&qty=1&qty=2", "duplicate field `qty`"),
        ("/cart", "qty=1", "missing field `name`"),
        ("/cart", "qty=1&name=", name),
        ("/cart", "qty=1&name=+%09+", name),
        ("/cart", "qty=1&name=a%00b", name),
        ("/cart", &format!("qty=1&name={}", "x".repeat(81)), name),
        ("/cart", &format!("qty=1&name={}", "x".repeat(20_000)), "Failed to buffer the request body"),
        ("/cart", "%zz=%ff&&&==&\u{7f}", "missing field `name`"),
        ("/cart/fill", "n=0", n),
        ("/cart/fill", "n=1001", n),
        ("/cart/fill", "", "missing field `n`"),
        ("/login", "user=+", user),
        ("/login", &format!("user={}", "x".repeat(41)), user),
    ];
    for (path, body, why) in refused {
        let answer = visitor.send(&shop, "POST", path, FORM, body);
        is_refused(&answer, why);
        assert_eq!(visitor.session(&shop), before, "{path} {body}");
    }
    is_refused(&visitor.send(&shop, "POST", "/cart", "", "name=Tea&qty=1"), "Form requests must have");
    assert_eq!(visitor.session(&shop), before);
}

#[test]
fn a_cart_has_an_end_and_a_full_one_still_opens() {
    let shop = Shop::open(&[]);
    let mut visitor = Visitor::default();
    visitor.accepted(&shop, "/cart/fill", &[("n", "1000")]);
    visitor.accepted(&shop, "/cart/fill", &[("n", "1000")]);
    let answer = visitor.post(&shop, "/cart", &[("name", "Tea"), ("qty", "1")]);
    is_refused(&answer, "a cart holds at most 2000 lines");
    is_kept(&visitor, &shop, "stored", 1, 2000);
    assert!(visitor.get(&shop, "/").body.contains("1,992 earlier lines"));
}

#[test]
fn whatever_a_client_sends_for_a_cookie_it_gets_a_page_and_a_fresh_session() {
    let shop = Shop::open(&[]);
    let mut visitor = Visitor::default();
    visitor.accepted(&shop, "/cart", &[("name", "Lime cordial"), ("qty", "1")]);
    let whole = visitor.cookie_header();
    let at = whole.len() / 2;
    let other = if whole.as_bytes()[at] == b'A' { "B" } else { "A" };
    let tampered = format!("{}{other}{}", &whole[..at], &whole[at + 1..]);
    let damaged = [
        (tampered, "authentication failed"),
        (whole[..24].to_owned(), "malformed"),
        ("shop=".to_owned(), "malformed"),
        ("shop=AAAA".to_owned(), "malformed"),
        ("shop.1=x; shop.2=\"y\"; shop=<b>z</b>".to_owned(), "malformed"),
        (format!("shop={}", "A".repeat(30_000)), "a token of another version"),
    ];
    for (cookie, why) in damaged {
        let header = format!("Cookie: {cookie}\r\n");
        let session = Visitor::default().send(&shop, "GET", "/session.json", &header, "").json();
        assert_eq!(without_bytes(session), nothing(), "{why}");
        let answer = Visitor::default().send(&shop, "GET", "/", &header, "");
        assert_eq!((answer.status, answer.all("set-cookie").count()), (200, 0), "{why}");
        let (_, refusal) = answer.body.split_once("A cookie was refused:</strong> ").expect("a refusal");
        assert!(refusal.starts_with(why), "{why}: {}", &refusal[..60]);
        assert!(!answer.body.contains("<b>z"), "{why}");
    }
    is_kept(&visitor, &shop, "cookie", 1, 1);
}

#[test]
fn behind_https_the_cookie_is_of_this_host_alone() {
    let plain = Visitor::default().post(&Shop::open(&[]), "/login", &[("user", "Ada")]);
    assert!(plain.one("set-cookie").starts_with("shop="));
    assert!(!plain.one("set-cookie").contains("Secure"));

    let shop = Shop::open(&[("SESSION_SECURE", "1")]);
    let mut visitor = Visitor { https: true, ..Visitor::default() };
    visitor.accepted(&shop, "/login", &[("user", "Ada")]);
    assert_eq!(visitor.jar_names(), ["__Host-shop"]);
    assert_eq!(visitor.session(&shop)["user"], "Ada");
}

#[test]
fn settings_that_cannot_work_are_errors_that_name_them() {
    fails_to_open(
        &[("SESSION_COOKIES", "two")],
        "shop: SESSION_COOKIES=\"two\" is not a number from 0 to 63\n",
    );
    fails_to_open(
        &[("SESSION_COOKIES", "64")],
        "shop: SESSION_COOKIES=\"64\" is not a number from 0 to 63\n",
    );
    fails_to_open(&[("SESSION_SECURE", "yes")], "shop: SESSION_SECURE=\"yes\" is not a number from 0 to 1\n");
    fails_to_open(&[("PORT", "65536")], "shop: PORT=\"65536\" is not a number from 0 to 65535\n");
    fails_to_open(&[("HOST", "256.0.0.1")], "shop: cannot listen at HOST=256.0.0.1 PORT=0: ");
    fails_to_open(
        &[("SESSION_KEYS_FILE", "no/such/keys")],
        "shop: the key ring no/such/keys cannot be made: ",
    );
    fails_to_open(&[("SESSION_DB", "no/such/db")], "no/such/db");
    fails_to_open(
        &[("SESSION_STORE", "teapot://ada:secret@host")],
        "shop: SESSION_STORE is not the URL of a store that this program knows\n",
    );
    fails_to_open(
        &[("SESSION_CACHE", "-1")],
        "shop: SESSION_CACHE=\"-1\" is not a number from 0 to 1048576\n",
    );
    fails_to_open(&[("SESSION_AFFINITY", "shop")], "shop: affinity: ");
}

#[cfg(unix)]
#[test]
fn the_key_file_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let shop = Shop::open(&[]);
    let metadata = shop.folder.path().join("session-keys.json").metadata().expect("a key file");
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
}

#[cfg(unix)]
#[test]
fn a_shop_that_is_told_to_close_closes_properly() {
    for signal in ["TERM", "INT"] {
        let mut shop = Shop::open(&[]);
        // A connection on which nothing is said does not keep the shop open.
        let _idle = TcpStream::connect(&shop.address).expect("a connection");
        Visitor::default().accepted(&shop, "/login", &[("user", "Ada")]);
        assert!(shop.close(signal).success(), "{signal}");
    }
}

#[track_caller]
fn fails_to_open(settings: &'static [(&str, &str)], message: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let output = command(folder.path(), settings).output().expect("the shop starts");
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(said.contains(message), "{said}");
    assert!(!output.status.success() && output.stdout.is_empty() && said.lines().count() == 1, "{said}");
}

/// The session is where it should be, with so many lines, and sealed under a key, for a while.
#[track_caller]
fn is_kept(visitor: &Visitor, shop: &Shop, placement: &str, cookies: u8, items: usize) {
    let session = visitor.clone().session(shop);
    let found = (&session["placement"], &session["cookies"], &session["items"]);
    assert_eq!(found, (&json!(placement), &json!(cookies), &json!(items)));
    for name in ["key_id", "created_at", "expires_at"] {
        assert!(session[name].is_string(), "{name}: {session}");
    }
    let bytes = &session["bytes"];
    assert!(bytes["header"].as_u64() <= bytes["budget"].as_u64(), "{session}");
}

#[track_caller]
fn is_refused(answer: &Answer, why: &str) {
    assert_eq!(answer.status, 400, "{why}");
    assert!(answer.body.contains(why), "{why}: {}", answer.body);
    assert!(answer.body.contains("Nothing was changed."), "{why}");
    assert_eq!(answer.one("content-type"), "text/plain; charset=utf-8", "{why}");
    assert_eq!(answer.all("set-cookie").count(), 0, "{why}");
}

fn without_bytes(mut session: Value) -> Value {
    session.as_object_mut().expect("an object").remove("bytes");
    session
}

/// The session of somebody who has none.
fn nothing() -> Value {
    json!({
        "placement": "cookie", "cookies": 0, "items": 0, "user": null,
        "created_at": null, "expires_at": null, "key_id": null,
    })
}

/// The cart's names stand on the page one after the other.
#[track_caller]
fn in_order(page: &str, names: &[&str]) {
    let (_, mut rest) = page.split_once("id=\"cart-title\"").expect("the cart");
    for name in names {
        (_, rest) = rest.split_once(name).unwrap_or_else(|| panic!("{name} is not in its place"));
    }
}
