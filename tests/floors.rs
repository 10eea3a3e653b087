//! The house that the manual's architecture page draws: a file imports from lower floors only, nothing below the sixth
//! reads a clock or a random source by itself, and one file knows the ciphers.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Every file of `src`, by floor. A room is a file without its `.rs`; `name/*` are the other files of a folder. The
/// cellar holds what needs nothing at all.
const FLOORS: &[(i8, &[&str])] = &[
    (8, &["adapter", "adapter/*", "fuzzing"]),
    (7, &["request"]),
    (6, &["manager", "ring_source", "store/*", "store/memcached/*", "store/mirrored/*", "store/redis/*"]),
    (5, &["session_cookie", "session_cookie/*"]),
    (4, &["affinity", "payload", "seen", "token"]),
    (3, &["ring", "session"]),
    (2, &["aead", "budget", "chunk", "codec", "compress"]),
    (1, &["cookie", "events", "key", "lifetime", "secret", "store"]),
    (0, &["error", "format", "format/*"]),
    (-1, &["random", "varint", "wiped"]),
];

/// The tour, the manual, and the tests of the vectors.
const EXEMPT: &[&str] = &["lib", "manual", "vectors"];

/// The outermost methods of the pure core, which hand in the clock and the random source.
const OUTERMOST: &[&str] = &["session_cookie", "session_cookie/usage"];

const CLOCKS: &[&str] = &["now_utc", "now_local", "OsRandom", "SystemTime::now", "Instant::now", "getrandom"];

const CIPHERS: &[&str] = &["aes_gcm", "xaes_256_gcm", "hmac", "hkdf", "sha2"];

#[test]
fn every_file_has_its_floor_and_imports_from_lower_ones() {
    let house = House::read();
    let mut wrong = Vec::new();
    for (room, code) in &house.rooms {
        let Some(floor) = floor(room) else {
            wrong.push(format!("{room} has no floor: give it one in tests/floors.rs"));
            continue;
        };
        for path in paths(room, code) {
            let imported = house.resolve(&path);
            let sibling = imported.split('/').next() == room.split('/').next();
            match self::floor(&imported) {
                _ if sibling => {}
                None => wrong.push(format!("{room} imports {}, which is nowhere", path.join("::"))),
                Some(other) if other < floor => {}
                Some(other) => wrong.push(format!("{room} on {floor} imports {imported} on {other}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn below_the_sixth_floor_only_the_outermost_methods_read_a_clock_or_a_random_source() {
    for (room, code) in &House::read().rooms {
        if room == "random" || floor(room) >= Some(6) {
            continue;
        }
        for method in code.split("fn ") {
            for clock in CLOCKS {
                let uses = method.matches(clock).count();
                let allowed = usize::from(OUTERMOST.contains(&room.as_str()));
                let name = method.split(['(', '<']).next().unwrap_or_default();
                assert!(uses <= allowed, "{room} mentions {clock} {uses} times in {name:?}");
            }
        }
    }
}

#[test]
fn one_file_imports_the_ciphers() {
    let house = House::read();
    let importers = house.rooms.iter().filter(|(_, code)| words(code).any(|word| CIPHERS.contains(&word)));
    assert_eq!(importers.map(|(room, _)| room.as_str()).collect::<Vec<_>>(), ["aead"]);
}

#[test]
fn paths_are_found_wherever_they_stand() {
    let code = code(
        r##"//! crate::comment
        use crate::a::{self, b::{C, D as E}, *};
        /* crate::comment */ const S: &str = "crate::text"; const R: &str = r#"crate::"text"#; const Q: char = '"';
        fn f<'a>(x: &'a crate::g::H) { super::i::j() } // crate::comment
        #[cfg(test)]
        fn tested() { crate::k::l() }
        #[cfg(test)]
        mod tests { use crate::t; }"##,
    );
    let found: Vec<String> = paths("x/y", &code).iter().map(|path| path.join("::")).collect();
    assert_eq!(found, ["a", "a::b::C", "a::b::D", "a", "g::H", "k::l", "x::i::j"]);
}

/// The floor of a room.
fn floor(room: &str) -> Option<i8> {
    let folder = room.rsplit_once('/').map(|(folder, _)| format!("{folder}/*"));
    let named = |name: &str| FLOORS.iter().find(|(_, rooms)| rooms.contains(&name)).map(|&(floor, _)| floor);
    named(room).or_else(|| named(&folder?))
}

/// All rooms with their code, and which names of the root and of the folders belong to which room.
struct House {
    rooms: BTreeMap<String, String>,
    exports: BTreeMap<String, String>,
}

impl House {
    fn read() -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut rooms = BTreeMap::new();
        for file in files(&source) {
            let room = file.strip_prefix(&source).expect("a file of src").with_extension("");
            let room = room.to_str().expect("a name in UTF-8").replace('\\', "/");
            let room = room.strip_suffix("/mod").unwrap_or(&room).to_owned();
            // A folder's `tests.rs` is a test module, and so is what stands in its `tests/`.
            if !room.ends_with("/tests") && !room.contains("/tests/") {
                rooms.insert(room, code(&fs::read_to_string(&file).expect("a readable file")));
            }
        }
        let mut exports = BTreeMap::new();
        for (room, code) in &rooms {
            let inside = if room == "lib" { String::new() } else { format!("{room}/") };
            for (start, found) in code.match_indices("use ") {
                for path in tree(&mut &code[start + found.len()..]) {
                    if let [module, .., name] = path.as_slice() {
                        exports.insert(format!("{inside}{name}"), format!("{inside}{module}"));
                    }
                }
            }
        }
        rooms.retain(|room, _| !EXEMPT.contains(&room.split('/').next().unwrap_or_default()));
        Self { rooms, exports }
    }

    /// The room that a path leads to: through modules as far as there are any, and then through one re-export.
    fn resolve(&self, path: &[String]) -> String {
        let mut room = String::new();
        for segment in path {
            let next = if room.is_empty() { segment.clone() } else { format!("{room}/{segment}") };
            if self.rooms.contains_key(&next) {
                room = next;
            } else if let Some(module) =
                self.exports.get(&next).filter(|module| self.rooms.contains_key(*module))
            {
                room.clone_from(module);
            } else {
                break;
            }
        }
        room
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let sources =
        files.into_iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs"));
    sources.chain(folders.iter().flat_map(|folder| self::files(folder))).collect()
}

/// The paths below the crate that a room's code names, whether through `crate::` or `super::`.
fn paths(room: &str, code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (root, base) in [("crate::", ""), ("super::", room.rsplit_once('/').map_or("", |(folder, _)| folder))]
    {
        let base: Vec<String> = base.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        for (start, _) in code.match_indices(root) {
            if !code[..start].ends_with(|c: char| is_word(c) || c == ':') {
                let below = tree(&mut &code[start + root.len()..]);
                found.extend(below.into_iter().map(|path| [base.clone(), path].concat()));
            }
        }
    }
    found
}

/// The paths of a `use` tree, or the one of a plain path, at the start of `code`, which is moved behind them. `self` and
/// `*` stand for what is before them.
fn tree(code: &mut &str) -> Vec<Vec<String>> {
    *code = code.trim_start();
    if let Some(group) = code.strip_prefix('{') {
        *code = group;
        let mut paths = Vec::new();
        while !code.trim_start().starts_with('}') {
            paths.extend(tree(code));
            // What is left of the part is another name for it.
            let end = code.find([',', '}']).expect("a group that ends");
            *code = code[end..].trim_start_matches(',');
        }
        *code = &code.trim_start()[1..];
        return paths;
    }
    let (name, rest) = code.split_at(code.find(|c| !is_word(c)).unwrap_or(code.len()));
    *code = rest;
    if name.is_empty() || name == "self" {
        return vec![Vec::new()];
    }
    let below = match rest.strip_prefix("::") {
        Some(rest) => {
            *code = rest;
            tree(code)
        }
        None => vec![Vec::new()],
    };
    below.into_iter().map(|path| [vec![name.to_owned()], path].concat()).collect()
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !is_word(c))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The source without its tests, and without what stands in comments and texts.
fn code(source: &str) -> String {
    let mut code = String::new();
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let previous = code.chars().last();
        let raw =
            rest.strip_prefix('r').map(|raw| raw.trim_start_matches('#')).filter(|raw| raw.starts_with('"'));
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let (Some(raw), false) = (raw, previous.is_some_and(is_word)) {
            let hashes = rest.len() - raw.len() - 1;
            let close = format!("\"{}", "#".repeat(hashes));
            rest.len() - raw.len() + 1 + raw[1..].find(&close).map_or(raw.len() - 1, |end| end + close.len())
        } else if c == '"' {
            let mut escaped = false;
            let end = rest[1..].find(|c| {
                let closes = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                closes
            });
            end.map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with("'\"'") {
            3
        } else {
            code.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        code.push(' ');
        rest = &rest[skipped..];
    }
    // What is only built for tests and is no module, such as a constructor, counts with the rest.
    let tests = code
        .match_indices("#[cfg(test)]")
        .find(|(start, attribute)| code[start + attribute.len()..].trim_start().starts_with("mod "));
    match tests {
        Some((start, _)) => code[..start].to_owned(),
        None => code,
    }
}
