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
