//! Key rings from where operators keep them: a file, a mounted secret, an environment variable.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::key::Key;
use crate::random::{self, OsRandom};
use crate::ring::{KeyRing, RingEntry, RingError};

impl KeyRing {
    /// Reads a ring from a file: either JSON, or base64 keys separated by white space with the primary first, as secret
    /// managers mount them.
    ///
    /// ```json
    /// {"keys": [{"secret": "base64 of 32 bytes", "created_at": "2026-01-31T00:00:00Z", "activates_at": null,
    ///            "retires_at": null, "expires_at": null, "revoked_at": null}]}
    /// ```
    ///
    /// Every time is optional and in RFC 3339 form.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or is no ring. The message names the file, and never its content.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, RingError> {
        let path = path.as_ref();
        let named = |what: &str| format!("the key ring {} {what}", path.display());
        let text = fs::read_to_string(path)
            .map(Zeroizing::new)
            .map_err(|source| failed(named("cannot be read"), source))?;
        Self::from_text(&text).map_err(|source| failed(named("is refused"), source))
    }

    /// Reads the ring at `path`, or makes one of a new key there, in a file that only its owner can read.
    ///
    /// However many processes start at once, they end up with one ring: the file appears whole or not at all, and the
    /// first one wins.
    ///
    /// # Errors
    ///
    /// If the file is there and refused, or is not there and cannot be made.
    pub fn from_file_or_new(path: impl AsRef<Path>) -> Result<Self, RingError> {
        let path = path.as_ref();
        if !path.try_exists().map_err(|source| unreachable_file(path, source))? {
            match create(path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    let from = format!("the key ring {} cannot be made", path.display());
                    return Err(failed(from, error));
                }
                _ => {}
            }
        }
        Self::from_file(path)
    }

    /// Reads a ring from an environment variable: base64 keys separated by white space or commas, the primary first.
    ///
    /// # Errors
    ///
    /// If the variable is not set or is no ring. The message names the variable, and never its content.
    pub fn from_env(variable: &str) -> Result<Self, RingError> {
        let named = |what: &str| format!("the key ring in ${variable} {what}");
        let text = std::env::var(variable)
            .map(Zeroizing::new)
            .map_err(|source| failed(named("cannot be read"), source))?;
        Self::parse(&text).map_err(|source| failed(named("is refused"), source))
    }

    fn from_text(text: &str) -> Result<Self, RingError> {
        if !text.trim_start().starts_with('{') {
            return Self::parse(text);
        }
        // serde_json's message may quote what it found, and what it found may be a key.
        let file: RingFile = serde_json::from_str(text).map_err(|error| {
            let from = format!("not a ring's JSON, line {} column {}", error.line(), error.column());
            RingError::Source { from, source: None }
        })?;
        let entries = (1..)
            .zip(file.keys)
            .map(|(number, entry)| entry.into_entry().map_err(|source| RingError::Key { number, source }));
        Self::new(entries.collect::<Result<Vec<_>, _>>()?)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RingFile {
    keys: Vec<EntryFile>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryFile {
    secret: Zeroizing<String>,
    #[serde(default, with = "time::serde::rfc3339::option")]
    created_at: Option<OffsetDateTime>,
    #[serde(default, with = "time::serde::rfc3339::option")]
    activates_at: Option<OffsetDateTime>,
    #[serde(default, with = "time::serde::rfc3339::option")]
    retires_at: Option<OffsetDateTime>,
    #[serde(default, with = "time::serde::rfc3339::option")]
    expires_at: Option<OffsetDateTime>,
    #[serde(default, with = "time::serde::rfc3339::option")]
    revoked_at: Option<OffsetDateTime>,
}

impl EntryFile {
    fn into_entry(self) -> Result<RingEntry, crate::key::KeyError> {
        let mut entry = RingEntry::new(self.secret.parse()?);
        entry.created_at = self.created_at;
        entry.activates_at = self.activates_at;
        entry.retires_at = self.retires_at;
        entry.expires_at = self.expires_at;
        entry.revoked_at = self.revoked_at;
        Ok(entry)
    }
}

/// Writes a ring of one new key beside `path` and links it there, which fails if somebody else was first.
fn create(path: &Path) -> io::Result<()> {
    let key = Key::generate(&mut OsRandom).map_err(io::Error::other)?;
    let entry = EntryFile {
        secret: Zeroizing::new(key.expose_base64()),
        created_at: Some(OffsetDateTime::now_utc()),
        activates_at: None,
        retires_at: None,
        expires_at: None,
        revoked_at: None,
    };
    let text = Zeroizing::new(serde_json::to_string_pretty(&RingFile { keys: vec![entry] })?);
    let draft = Draft::beside(path)?;
    let mut file = draft.open()?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::hard_link(&draft.0, path)
}

/// A file that nobody else has the name of; removed when it is dropped.
struct Draft(PathBuf);

impl Draft {
    fn beside(path: &Path) -> io::Result<Self> {
        let unique = u64::from_le_bytes(random::array(&mut OsRandom).map_err(io::Error::other)?);
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{unique:016x}"));
        Ok(Self(path.with_file_name(name)))
    }

    fn open(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&self.0)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // What cannot be removed is a second name of the ring, or an empty file: neither does harm.
        let _ = fs::remove_file(&self.0);
    }
}

fn unreachable_file(path: &Path, source: io::Error) -> RingError {
    failed(format!("the key ring {} cannot be read", path.display()), source)
}

fn failed(from: String, source: impl std::error::Error + Send + Sync + 'static) -> RingError {
    RingError::Source { from, source: Some(Box::new(source)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key::generate(&mut OsRandom).expect("random bytes")
    }

    #[track_caller]
    fn refused(path: &Path, message: &str) {
        let error = KeyRing::from_file(path).unwrap_err();
        assert_eq!(error.to_string(), message.replace("PATH", &path.display().to_string()));
    }

    #[test]
    fn a_file_that_is_missing_or_no_ring_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys");
        refused(&path, "the key ring PATH cannot be read");
        refused(folder.path(), "the key ring PATH cannot be read");
        for text in ["", "hunter2", "{\"keys\": \"hunter2\"}", "{\"keys\": []}", "{\"kees\": []}", "{", "[1]"]
        {
            fs::write(&path, text).expect("a file");
            refused(&path, "the key ring PATH is refused");
        }
        let error = KeyRing::from_env("HARDTACK_NO_SUCH_VARIABLE").unwrap_err();
        assert_eq!(error.to_string(), "the key ring in $HARDTACK_NO_SUCH_VARIABLE cannot be read");
    }

    #[test]
    fn no_part_of_a_faulty_ring_stands_in_its_errors() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys");
        for text in
            ["{\"keys\": [{\"secret\": \"hunter2\"}]}", "{\"keys\": [\"hunter2\"]}", "{\"hunter2\": 1}"]
        {
            fs::write(&path, text).expect("a file");
            let error = KeyRing::from_file(&path).unwrap_err();
            let mut shown = format!("{error:?}");
            let mut cause: Option<&dyn std::error::Error> = Some(&error);
            while let Some(error) = cause {
                shown += &error.to_string();
                cause = error.source();
            }
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn a_ring_is_read_from_json_with_its_times_and_from_a_plain_list() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys");
        let (a, b) = (key(), key());
        let json = format!(
            r#"{{"keys": [{{"secret": "{}", "activates_at": "2026-01-01T00:00:00Z"}},
                          {{"secret": "{}", "activates_at": "2026-02-01T00:00:00Z"}}]}}"#,
            a.expose_base64(),
            b.expose_base64()
        );
        fs::write(&path, json).expect("a file");
        let ring = KeyRing::from_file(&path).expect("a ring");
        assert_eq!(ring.sealing_key(OffsetDateTime::now_utc()), ring.key_ids().nth(1));

        fs::write(&path, format!("{}\n{}\n", a.expose_base64(), b.expose_base64())).expect("a file");
        let ring = KeyRing::from_file(&path).expect("a ring");
        assert_eq!(ring.sealing_key(OffsetDateTime::now_utc()), ring.key_ids().next());
    }

    #[test]
    fn processes_that_start_at_once_make_one_ring_that_only_its_owner_reads() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keys");
        let ids: Vec<_> = std::thread::scope(|scope| {
            let start = || KeyRing::from_file_or_new(&path).expect("a ring").key_ids().next();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]));
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(&path).expect("a file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
}
