use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;

/// Both formats, where both are built.
const FORMATS: &[Format] = &[
    Format::Postcard,
    #[cfg(feature = "json")]
    Format::Json,
];

fn secret(text: &str) -> Secret<String> {
    Secret::new(text.into())
}

/// The public and the secret segment.
#[track_caller]
fn sealed<T: Serialize>(format: Format, value: &T) -> (Vec<u8>, Vec<u8>) {
    let (mut public, mut segment) = (Wiped::default(), Wiped::default());
    sealing(format, &mut segment, |watch| format.write(value, &mut public, watch)).expect("a value");
    (public.to_vec(), segment.to_vec())
}

fn opened<T: DeserializeOwned>(format: Format, (public, segment): &(Vec<u8>, Vec<u8>)) -> Option<T> {
    let _secrets = opening(format, segment)?;
    format.read(public)
}

#[track_caller]
fn comes_back<T: Serialize + DeserializeOwned + PartialEq + fmt::Debug>(format: Format, value: &T) {
    assert_eq!(opened(format, &sealed(format, value)).as_ref(), Some(value), "{format:?}");
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Login {
    user: String,
    password: Secret<String>,
    token: Option<Secret<Vec<u8>>>,
}

impl Zeroize for Login {
    fn zeroize(&mut self) {
        self.user.zeroize();
    }
}

fn login() -> Login {
    Login { user: "ada".into(), password: secret("hunter2"), token: Some(Secret::new(vec![1, 2])) }
}

#[test]
fn secrets_come_back_wherever_they_stand() {
    for &format in FORMATS {
        comes_back(format, &secret("s3cr3t"));
        comes_back(format, &login());
        comes_back(format, &Login::default());
        comes_back(format, &(None::<Secret<String>>, Some(secret("")), [secret("a"), secret("b")]));
        comes_back(format, &(0..200).map(|n| secret(&n.to_string())).collect::<Vec<_>>());
    }
}

#[test]
fn the_public_segment_has_an_index_and_the_secret_one_the_bytes_as_they_are() {
    let repeated = "a".repeat(1000);
    let (public, segment) = sealed(Format::Postcard, &("ada", secret("s3cr3t"), 3, secret(&repeated)));
    assert_eq!(public, b"\x03ada\x00\x06\x01");
    assert_eq!(segment, [b"\x07\x06s3cr3t\xea\x07\xe8\x07", repeated.as_bytes()].concat());

    #[cfg(feature = "json")]
    {
        let (public, segment) = sealed(Format::Json, &("ada", secret("s3cr3t"), Some(secret("b"))));
        assert_eq!(public, br#"["ada",0,1]"#);
        assert_eq!(segment, b"\x08\"s3cr3t\"\x03\"b\"");
    }
}

#[test]
fn a_secret_in_a_secret_stays_inside_the_outer_one() {
    for &format in FORMATS {
        let nested = (Secret::new(login()), secret("after"));
        let sealed = sealed(format, &nested);
        let again: (Secret<Login>, Secret<String>) = opened(format, &sealed).expect("a value");
        assert_eq!((again.0.expose(), again.1.expose().as_str()), (nested.0.expose(), "after"));
    }
    let (public, segment) = sealed(Format::Postcard, &(Secret::new(login()), secret("after")));
    assert_eq!(public, [0, 1]);
    assert_eq!(segment, b"\x10\x03ada\x07hunter2\x01\x02\x01\x02\x06\x05after");
}

#[cfg(feature = "json")]
#[test]
fn two_secrets_in_flattened_structs_do_not_change_places() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Inner {
        b: Secret<String>,
        a: Secret<String>,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Outer {
        z: Secret<String>,
        #[serde(flatten)]
        inner: Inner,
        c: Option<Secret<String>>,
    }
    let inner = Inner { b: secret("b"), a: secret("a") };
    let outer = Outer { z: secret("z"), inner, c: Some(secret("c")) };
    comes_back(Format::Json, &outer);
    // Whoever orders the fields otherwise finds the same secrets.
    let (_, segment) = sealed(Format::Json, &outer);
    let other = br#"{"c":3,"a":2,"z":0,"b":1}"#.to_vec();
    assert_eq!(opened(Format::Json, &(other, segment)), Some(outer));
}

#[test]
fn outside_a_seal_and_outside_an_opening_a_secret_is_an_error() {
    let error = serde_json::to_string(&login()).unwrap_err().to_string();
    assert_eq!(error, "a Secret is serialized only while a session is being sealed");
    let error = serde_json::from_str::<Secret<String>>("0").unwrap_err().to_string();
    assert!(error.starts_with("a Secret is deserialized only while a session is being opened"), "{error}");
    assert!(postcard::to_stdvec(&secret("s3cr3t")).is_err());
    assert!(postcard::from_bytes::<Secret<String>>(&[0]).is_err());
}

#[test]
fn sealing_is_not_opening_and_opening_is_not_sealing() {
    let (mut segment, one) = (Wiped::default(), [1, b'a']);
    let read = sealing(Format::Postcard, &mut segment, |_| Format::Postcard.read::<Secret<String>>(&[0]));
    assert!(read.is_none() && segment.is_empty());
    let write = || Format::Postcard.write(&secret("b"), &mut Wiped::default(), &Watch::default());
    let _secrets = opening(Format::Postcard, &one).expect("a whole segment");
    assert!(write().is_err());
}

/// Serializes to what `0` does, once.
struct Calls<F>(F);

impl<F: Fn()> Serialize for Calls<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.0)();
        serializer.serialize_unit()
    }
}

impl<F> Zeroize for Calls<F> {
    fn zeroize(&mut self) {}
}

#[test]
fn a_panic_while_sealing_leaves_nothing_behind() {
    fn panicked<T: Serialize>(value: &T) {
        assert!(catch_unwind(AssertUnwindSafe(|| sealed(Format::Postcard, value))).is_err());
    }
    let panics = || Calls(|| panic!("in the middle of a seal"));
    for panic in [|panics| panicked(&(secret("a"), panics)), |panics| panicked(&Secret::new((panics,)))] {
        panic(panics());
        assert!(serde_json::to_string(&secret("s3cr3t")).is_err(), "the scope is still there");
        comes_back(Format::Postcard, &login());
    }
    // An outer seal goes on where an inner one panicked.
    let outer = (secret("a"), Calls(|| panicked(&Secret::new(panics()))), secret("b"));
    assert_eq!(sealed(Format::Postcard, &outer), (vec![0, 1], b"\x02\x01a\x02\x01b".to_vec()));
}

#[test]
fn a_seal_within_a_seal_has_its_own_secrets() {
    let seal = || assert_eq!(sealed(Format::Postcard, &secret("in")), (vec![0], b"\x03\x02in".to_vec()));
    let open = || comes_back(Format::Postcard, &login());
    let expected = (vec![0, 1, 2], b"\x02\x01a\x00\x02\x01b".to_vec());
    for inner in [&seal as &dyn Fn(), &open] {
        let value = (secret("a"), Calls(inner), Secret::new(Calls(inner)), secret("b"));
        assert_eq!(sealed(Format::Postcard, &value), expected);
    }
}

#[test]
fn an_index_or_a_segment_that_is_not_right_is_refused() {
    let (public, segment) = sealed(Format::Postcard, &[secret("a"), secret("b")]);
    let refused = |public: &[u8], segment: &[u8]| {
        let opened = opened::<[Secret<String>; 2]>(Format::Postcard, &(public.to_vec(), segment.to_vec()));
        assert_eq!(opened, None, "{public:?} {segment:?}");
    };
    refused(&[0, 2], &segment);
    refused(&[0, 0xff, 0xff, 0xff, 0xff, 0x0f], &segment);
    refused(&public, &[]);
    for end in 0..segment.len() {
        refused(&public, &segment[..end]);
    }
    refused(&public, &[segment.as_slice(), &[1]].concat());
    refused(&public, &[segment.as_slice(), &[0x80]].concat());
    refused(&public, &[segment.as_slice(), &[0xff; 10]].concat());
    // A content that is longer or shorter than the secret's type.
    refused(&public, &[3, 1, b'a', 0, 2, 1, b'b']);
    refused(&public, &[1, 1, 2, 1, b'b']);
    assert!(opened::<[Secret<String>; 2]>(Format::Postcard, &(vec![1, 0], segment)).is_some());
}

#[test]
fn neither_debug_nor_an_error_shows_a_secret() {
    let shown = format!("{:?} {:#?} {}", login(), login(), serde_json::to_string(&login()).unwrap_err());
    assert!(shown.contains("Secret(..)") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn secrets_are_equal_if_their_bytes_are() {
    assert_eq!(secret("a"), Secret::from(String::from("a")));
    assert_ne!(secret("a"), secret("b"));
    assert_ne!(secret("a"), secret("aa"));
    let mut changed = secret("a");
    changed.expose_mut().push('b');
    assert_eq!(changed, secret("ab"));
}
