//! What stands in a case, as what the code takes.

use serde::Deserialize as _;
use serde_json::Value as Json;

use crate::aead::Kind;
use crate::payload::{Body, Compression, State};
use crate::session::{Metadata, SessionId, Subject};
use crate::store::RecordId;
use crate::token::Tokens;
use crate::{Key, KeyRing};

/// One case of a file.
pub(super) struct Case(pub(super) Json);

impl Case {
    pub(super) fn opens(&self) -> bool {
        let expect = self.text("expect");
        assert!(matches!(expect, "open" | "reject"), "expect is {expect:?}");
        // A reader without the JSON codec refuses what is written in it.
        let json = self.find("payload").is_some_and(|payload| payload["codec"] == "json");
        expect == "open" && (!json || cfg!(feature = "json"))
    }

    /// The field, unless it is missing or null.
    pub(super) fn find(&self, field: &str) -> Option<&Json> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    #[track_caller]
    pub(super) fn get(&self, field: &str) -> &Json {
        self.find(field).unwrap_or_else(|| panic!("the case has no {field}"))
    }

    #[track_caller]
    pub(super) fn text(&self, field: &str) -> &str {
        self.get(field).as_str().expect("a text")
    }

    #[track_caller]
    pub(super) fn number(&self, field: &str) -> u64 {
        self.get(field).as_u64().expect("a number")
    }

    #[track_caller]
    pub(super) fn size(&self, field: &str) -> usize {
        usize::try_from(self.number(field)).expect("a size")
    }

    #[track_caller]
    pub(super) fn bytes(&self, field: &str) -> Vec<u8> {
        hex::decode(self.text(field)).expect("hexadecimal")
    }

    #[track_caller]
    pub(super) fn array<const N: usize>(&self, field: &str) -> [u8; N] {
        self.bytes(field).try_into().expect("as many bytes as the field has")
    }

    #[track_caller]
    pub(super) fn texts(&self, field: &str) -> Vec<String> {
        Vec::deserialize(self.get(field)).expect("a list of texts")
    }

    #[track_caller]
    pub(super) fn list(&self, field: &str) -> Vec<Vec<u8>> {
        self.texts(field).iter().map(|text| hex::decode(text).expect("hexadecimal")).collect()
    }

    pub(super) fn headers(&self) -> Vec<String> {
        self.texts("headers")
    }

    pub(super) fn payload(&self) -> Self {
        Self(self.get("payload").clone())
    }

    /// The case as its writer was given it: some times cannot be written as they are.
    pub(super) fn given(&self) -> Self {
        let mut case = self.0.clone();
        if let (Json::Object(fields), Some(Json::Object(given))) = (&mut case, self.find("given")) {
            fields.extend(given.clone());
        }
        Self(case)
    }

    pub(super) fn metadata(&self) -> Metadata {
        Metadata {
            id: SessionId::from_bytes(self.array("id")),
            created: self.number("created"),
            authenticated: self.find("authenticated").map(|_| self.number("authenticated")),
            sealed: self.number("sealed"),
            expires: self.number("expires"),
            sequence: self.number("sequence"),
            schema: u32::try_from(self.number("schema")).expect("32 bits"),
            subject: self.find("subject").map(|_| Subject::from_bytes(self.array("subject"))),
        }
    }

    pub(super) fn body(&self) -> Body<Vec<u8>> {
        let record = match self.text("placement") {
            "reference" => {
                let record = RecordId::from_bytes(self.array("record_id"));
                return Body::Reference { record, version: self.number("version") };
            }
            placement => placement == "record",
        };
        let codec = u8::from(self.text("codec") == "json");
        let compression = match self.text("compression") {
            "none" => Compression::None,
            "zstd" => Compression::Zstd,
            "dictionary" => Compression::Dictionary(self.number("dictionary")),
            other => panic!("no compression is called {other}"),
        };
        let (public, secret) = (self.bytes("public"), self.bytes("secret"));
        Body::State(State { record, codec, compression, public, secret })
    }

    pub(super) fn ring(&self) -> KeyRing {
        let keys = self.list("keys").into_iter().map(|key| Key::unchecked(key.try_into().expect("32 bytes")));
        KeyRing::new(keys).expect("different keys")
    }

    pub(super) fn tokens(&self, ring: &KeyRing, kind: Kind) -> Tokens {
        Tokens::bind(ring, self.text("app"), self.text("cookie_name"), kind)
    }
}
