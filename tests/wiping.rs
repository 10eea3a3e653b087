//! What held plaintext is wiped before it is given back. An allocator that looks into each block as it is freed sees to
//! it, so this is a program of its own.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use hardtack::{Format, Key, KeyRing, Opened, OsRandom, Outgoing, Secret, SessionCookie};
use serde::{Deserialize, Serialize};
use zeroize::Zeroize as _;

/// What no freed block may contain.
const MARKER: &[u8] = b"hunter2hunter2hunter2";

/// How many did.
static FOUND: AtomicUsize = AtomicUsize::new(0);

struct Looking;

// SAFETY: all calls are handed on to the system's allocator. `realloc` is the default one, which allocates, copies and
// frees, so that the old block is looked into.
unsafe impl GlobalAlloc for Looking {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise. Zeroed, so that every byte may be read in `dealloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block is the caller's, of this size, and was initialized in `alloc`.
        let bytes = unsafe { std::slice::from_raw_parts(block, layout.size()) };
        if bytes.windows(MARKER.len()).any(|window| window == MARKER) {
            FOUND.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static LOOKING: Looking = Looking;

/// Not a secret, and yet wiped: so what is found is not the application's own copy.
#[derive(Default, Serialize, Deserialize)]
struct Public(String);

impl Drop for Public {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Logins {
    public: [Public; 2],
    tokens: Vec<Secret<String>>,
    pairs: Vec<Secret<(String, String)>>,
}

/// A text with the marker in it, of so many characters, in a block of just that size.
fn text(len: usize) -> String {
    let mut text = String::with_capacity(len);
    text.push_str(str::from_utf8(MARKER).expect("a text"));
    text.extend(std::iter::repeat_n('x', len - MARKER.len()));
    text
}

#[test]
fn no_block_that_is_freed_while_sealing_and_opening_holds_plaintext() {
    drop(text(30));
    assert_eq!(FOUND.swap(0, Ordering::Relaxed), 1, "the allocator looks into what is freed");

    let formats = [
        Format::Postcard,
        #[cfg(feature = "json")]
        Format::Json,
    ];
    for format in formats {
        let ring = KeyRing::new([Key::generate(&mut OsRandom).expect("random bytes")]).expect("one key");
        let cookie = SessionCookie::<Logins>::builder("__Host-session", ring).format(format);
        let cookie = cookie.build().expect("settings that work");

        let mut session = cookie.open([""; 0]).into_session();
        session.public = [Public(text(200)), Public(text(1600))];
        session.tokens.extend([30, 40, 70, 130, 250].map(|len| Secret::new(text(len))));
        session.pairs.extend([60, 150].map(|len| Secret::new((text(len), text(2 * len)))));
        let Outgoing::Cookies(cookies) = cookie.seal(&session).expect("it fits") else {
            panic!("it was changed")
        };
        drop(session);
        assert_eq!(FOUND.load(Ordering::Relaxed), 0, "blocks that were freed while sealing {format:?}");

        let header = cookies.cookie_header();
        let Opened::Ready(session) = cookie.open([header.as_str()]) else { panic!("it is valid") };
        assert!(session.pairs[1].expose().1.ends_with("xxx"));
        drop(session);
        assert_eq!(FOUND.load(Ordering::Relaxed), 0, "blocks that were freed while opening {format:?}");
    }
}
