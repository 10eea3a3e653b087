//! Sessions in axum handlers: the guard, the fresh session, the failed commit, several sessions beside one another.
#![cfg(feature = "axum")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::header::{CACHE_CONTROL, COOKIE, SET_COOKIE, VARY};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Request, Response, StatusCode};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Extension, Router};
use hardtack::axum::{ExtractError, LazySession, Session, SessionLayer};
use hardtack::store::{BoxFuture, Expect, MemoryStore, Record, RecordId, Store, StoreError};
use hardtack::{Budget, CommitError, Key, KeyRing, OsRandom, Placement, SessionManager};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tower::ServiceExt;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Cart {
    items: Vec<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Login {
    user: Option<String>,
}

/// A store that fails when it is told to, and counts.
#[derive(Clone, Default)]
struct Flaky {
    inner: Arc<MemoryStore>,
    down: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
}

impl Flaky {
    fn guard<'a, R: Send + 'a>(
        &'a self,
        call: BoxFuture<'a, Result<R, StoreError>>,
    ) -> BoxFuture<'a, Result<R, StoreError>> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.down.load(Ordering::SeqCst) {
            return Box::pin(async { Err(StoreError::unavailable("reach it", "the cable is out")) });
        }
        call
    }
}

impl Store for Flaky {
    fn load<'a>(
        &'a self,
        id: &'a RecordId,
        at_least: u64,
    ) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        self.guard(self.inner.load(id, at_least))
    }

    fn save<'a>(&'a self, record: &'a Record, expect: Expect) -> BoxFuture<'a, Result<(), StoreError>> {
        self.guard(self.inner.save(record, expect))
    }

    fn touch<'a>(
        &'a self,
        id: &'a RecordId,
        version: u64,
        expires_at: OffsetDateTime,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.guard(self.inner.touch(id, version, expires_at))
    }

    fn delete<'a>(
        &'a self,
        id: &'a RecordId,
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.guard(self.inner.delete(id, expected))
    }
}

fn ring() -> KeyRing {
    KeyRing::new([Key::generate(&mut OsRandom).expect("random bytes")]).expect("one key")
}

fn carts(store: Flaky) -> Arc<SessionManager<Cart>> {
    Arc::new(SessionManager::builder("__Host-cart", ring()).store(store).build().expect("settings that work"))
}

/// So many words that do not compress into a cookie.
fn noise(words: u64) -> Vec<String> {
    (1..=words).map(|n| format!("{:x}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15))).collect()
}

#[expect(clippy::too_many_lines, reason = "a line and a handler for each thing that a handler may do")]
fn app(carts: &Arc<SessionManager<Cart>>) -> Router {
    async fn add(mut session: Session<Cart>) -> String {
        session.items.push("tea".into());
        session.items.len().to_string()
    }
    async fn fill(mut session: Session<Cart>) {
        // Nothing that compresses into a cookie.
        session.items =
            (1_u64..500).map(|n| format!("{:x}", n.wrapping_mul(0x9E37_79B9_7F4A_7C15))).collect();
    }
    async fn count(session: Session<Cart>) -> String {
        session.items.len().to_string()
    }
    async fn touch(mut session: Session<Cart>) {
        session.items.push("tea".into());
        session.items.pop();
    }
    async fn missing(mut session: Session<Cart>) -> StatusCode {
        session.items.push("tea".into());
        StatusCode::NOT_FOUND
    }
    async fn broken(mut session: Session<Cart>) -> StatusCode {
        session.items.push("tea".into());
        StatusCode::INTERNAL_SERVER_ERROR
    }
    async fn twice(one: Session<Cart>, two: Result<Session<Cart>, ExtractError>) -> String {
        drop(one);
        two.expect_err("the first is still held").to_string()
    }
    async fn spawned(session: Session<Cart>, Extension(kept): Extension<Kept>) {
        kept.lock().expect("no panic").push(session);
    }
    async fn panics(mut session: Session<Cart>) -> StatusCode {
        session.items.push("tea".into());
        let caught = catch_unwind(AssertUnwindSafe(move || {
            session.items.push("more".into());
            panic!("on purpose");
        }));
        assert!(caught.is_err());
        StatusCode::INTERNAL_SERVER_ERROR
    }
    async fn saves_then_panics(mut session: Session<Cart>) -> Result<StatusCode, CommitError> {
        session.items.push("tea".into());
        session.rotate();
        session.save().await?;
        let caught = catch_unwind(AssertUnwindSafe(move || {
            session.items.push("more".into());
            panic!("on purpose");
        }));
        assert!(caught.is_err());
        Ok(StatusCode::INTERNAL_SERVER_ERROR)
    }
    async fn saves_then_changes(mut session: Session<Cart>) -> Result<(), CommitError> {
        session.items.push("tea".into());
        session.save().await?;
        session.items.push("more".into());
        Ok(())
    }
    async fn saves_then_destroys(mut session: Session<Cart>) -> Result<(), CommitError> {
        session.items.push("tea".into());
        session.save().await?;
        session.destroy();
        Ok(())
    }
    async fn lazy(mut lazy: LazySession<Cart>, parts: HeaderMap) -> Result<String, ExtractError> {
        if !parts.contains_key("x-use") {
            return Ok("unused".into());
        }
        let session = lazy.get().await?;
        session.items.push("tea".into());
        Ok(lazy.get().await?.items.len().to_string())
    }
    async fn optional(session: Option<Session<Cart>>) -> String {
        session.map_or("none".into(), |session| session.items.len().to_string())
    }
    async fn logout(mut session: Session<Cart>) {
        session.destroy();
    }
    async fn logout_and_greet(mut session: Session<Cart>) {
        session.destroy();
        session.items.push("goodbye".into());
    }
    async fn too_large(mut session: Session<Cart>) {
        session.items = vec!["x".repeat(100_000)];
    }
    async fn after_extractor(Counted(before): Counted, mut session: Session<Cart>) -> String {
        session.items.push("tea".into());
        before.to_string()
    }
    Router::new()
        .route("/", get(|| async { "untouched" }))
        .route("/add", get(add))
        .route("/fill", get(fill))
        .route("/count", get(count))
        .route("/touch", get(touch))
        .route("/missing", get(missing))
        .route("/broken", get(broken))
        .route("/twice", get(twice))
        .route("/spawned", get(spawned))
        .route("/panics", get(panics))
        .route("/saves-then-panics", get(saves_then_panics))
        .route("/saves-then-changes", get(saves_then_changes))
        .route("/saves-then-destroys", get(saves_then_destroys))
        .route("/lazy", get(lazy))
        .route("/optional", get(optional))
        .route("/logout", get(logout))
        .route("/logout-and-greet", get(logout_and_greet))
        .route("/too-large", get(too_large))
        .route("/after-extractor", get(after_extractor))
        .layer(SessionLayer::new(Arc::clone(carts)))
        .layer(Extension(Kept::default()))
}

type Kept = Arc<std::sync::Mutex<Vec<Session<Cart>>>>;

/// An extractor that uses the session and lets it go before the handler takes it.
struct Counted(usize);

impl<S: Sync> FromRequestParts<S> for Counted {
    type Rejection = ExtractError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ExtractError> {
        let session = <Session<Cart> as FromRequestParts<S>>::from_request_parts(parts, state).await?;
        Ok(Self(session.items.len()))
    }
}

async fn send(app: &Router, path: &str, cookies: &str) -> Response<Body> {
    let request = Request::get(path).header(COOKIE, cookies).body(Body::empty()).expect("a request");
    app.clone().oneshot(request).await.expect("routers do not fail")
}

/// The `Cookie` header of a browser after this response; removed cookies are gone.
fn next(cookies: &str, response: &Response<Body>) -> String {
    let mut jar: Vec<(String, String)> = cookies
        .split("; ")
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    for field in set_cookies(response) {
        let (name, value) = field.split(';').next().and_then(|pair| pair.split_once('=')).expect("a pair");
        jar.retain(|(kept, _)| kept != name);
        if !field.ends_with("Max-Age=0") {
            jar.push((name.to_owned(), value.to_owned()));
        }
    }
    jar.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
}

fn set_cookies(response: &Response<Body>) -> Vec<&str> {
    response.headers().get_all(SET_COOKIE).iter().map(|value| value.to_str().expect("ASCII")).collect()
}

async fn text(response: Response<Body>) -> String {
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("a body");
    String::from_utf8(body.to_vec()).expect("text")
}

#[track_caller]
fn untouched(response: &Response<Body>) {
    assert!(set_cookies(response).is_empty(), "the client's cookies are untouched");
}

#[tokio::test]
async fn a_fresh_session_that_nobody_changed_sets_no_cookie() {
    let app = app(&carts(Flaky::default()));
    for path in ["/", "/count", "/touch", "/optional", "/lazy", "/logout"] {
        untouched(&send(&app, path, "theme=dark").await);
    }
}

#[tokio::test]
async fn what_a_handler_adds_is_there_in_the_next_request() {
    let app = app(&carts(Flaky::default()));
    let first = send(&app, "/add", "").await;
    let cookies = next("", &first);
    assert_eq!(text(first).await, "1");
    let second = send(&app, "/add", &cookies).await;
    let cookies = next(&cookies, &second);
    assert_eq!(text(send(&app, "/count", &cookies).await).await, "2");
    untouched(&send(&app, "/touch", &cookies).await);
}

#[tokio::test]
async fn cookies_are_set_on_errors_of_the_handler_too() {
    let app = app(&carts(Flaky::default()));
    for (path, status) in
        [("/missing", StatusCode::NOT_FOUND), ("/broken", StatusCode::INTERNAL_SERVER_ERROR)]
    {
        let response = send(&app, path, "").await;
        assert_eq!(response.status(), status);
        assert_eq!(text(send(&app, "/count", &next("", &response)).await).await, "1");
    }
}

#[tokio::test]
async fn a_response_says_what_caches_must_know() {
    let app = app(&carts(Flaky::default()));
    let set = send(&app, "/add", "").await;
    assert_eq!(set.headers()[VARY], "cookie");
    assert_eq!(set.headers()[CACHE_CONTROL], "private");
    let read = send(&app, "/count", "").await;
    assert_eq!(read.headers()[VARY], "cookie");
    assert!(!read.headers().contains_key(CACHE_CONTROL));
    let neither = send(&app, "/", "").await;
    assert!(!neither.headers().contains_key(VARY));
}

#[tokio::test]
async fn what_a_handler_said_of_caching_is_kept_as_far_as_it_may() {
    async fn directed(mut session: Session<Cart>, request: HeaderMap) -> impl IntoResponse {
        session.items.push("tea".into());
        (
            [
                (CACHE_CONTROL, request["x-directive"].clone()),
                (VARY, "Accept, Cookie".parse().expect("ASCII")),
            ],
            "",
        )
    }
    let layer = SessionLayer::new(carts(Flaky::default()));
    let app = Router::new().route("/", get(directed)).layer(layer);
    for (said, sent) in [
        ("public, max-age=60", "private, max-age=60"),
        ("s-maxage=9, max-age=3", "private, max-age=3"),
        ("no-store", "no-store"),
        ("max-age=0, private", "max-age=0, private"),
        ("Private=\"set-cookie\", max-age=9", "private, max-age=9"),
    ] {
        let request = Request::get("/").header("x-directive", said).body(Body::empty()).expect("a request");
        let response = app.clone().oneshot(request).await.expect("routers do not fail");
        assert_eq!(response.headers()[CACHE_CONTROL], sent);
        assert_eq!(response.headers().get_all(VARY).iter().collect::<Vec<_>>(), ["Accept, Cookie"]);
    }
}

#[tokio::test]
async fn a_second_extraction_while_the_first_lives_is_a_clear_error() {
    let app = app(&carts(Flaky::default()));
    assert_eq!(
        text(send(&app, "/twice", "").await).await,
        "the request's session is already in use: an extractor or the handler still holds it"
    );
}

#[tokio::test]
async fn an_extractor_may_use_the_session_before_the_handler_takes_it() {
    let app = app(&carts(Flaky::default()));
    let response = send(&app, "/after-extractor", "").await;
    let cookies = next("", &response);
    assert_eq!(text(response).await, "0");
    assert_eq!(text(send(&app, "/after-extractor", &cookies).await).await, "1");
}

#[tokio::test]
async fn a_session_that_is_still_held_when_the_response_is_sent_is_an_error() {
    let app = app(&carts(Flaky::default()));
    let response = send(&app, "/spawned", "").await;
    untouched(&response);
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(text(response).await, "the session is still in use: drop it before the response is returned");
}

#[tokio::test]
async fn a_panic_commits_nothing() {
    let app = app(&carts(Flaky::default()));
    untouched(&send(&app, "/panics", "").await);
}

#[tokio::test]
async fn what_was_saved_before_a_panic_reaches_the_client() {
    let store = Flaky::default();
    let app = app(&carts(store.clone()));
    let cookies = next("", &send(&app, "/fill", "").await);
    let response = send(&app, "/saves-then-panics", &cookies).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(text(send(&app, "/count", &next(&cookies, &response)).await).await, "500");
}

#[tokio::test]
async fn what_changes_after_a_save_is_committed_with_the_response() {
    let app = app(&carts(Flaky::default()));
    let response = send(&app, "/saves-then-changes", "").await;
    assert_eq!(set_cookies(&response).len(), 1);
    assert_eq!(text(send(&app, "/count", &next("", &response)).await).await, "2");
}

#[tokio::test]
async fn what_was_saved_and_then_destroyed_does_not_reach_the_client() {
    let app = app(&carts(Flaky::default()));
    let response = send(&app, "/saves-then-destroys", "").await;
    assert_eq!(next("", &response), "");
    let cookies = next("", &send(&app, "/add", "").await);
    let response = send(&app, "/saves-then-destroys", &cookies).await;
    assert_eq!(next(&cookies, &response), "");
}

#[tokio::test]
async fn a_lazy_session_does_nothing_until_it_is_asked() {
    let store = Flaky::default();
    let app = app(&carts(store.clone()));
    let cookies = next("", &send(&app, "/fill", "").await);
    let calls = store.calls.load(Ordering::SeqCst);
    let unused = send(&app, "/lazy", &cookies).await;
    assert_eq!(store.calls.load(Ordering::SeqCst), calls);
    assert!(!unused.headers().contains_key(VARY));

    let request = Request::get("/lazy").header(COOKIE, &cookies).header("x-use", "1").body(Body::empty());
    let used = app.clone().oneshot(request.expect("a request")).await.expect("routers do not fail");
    assert!(!set_cookies(&used).is_empty());
    assert_eq!(text(used).await, "500");
}

#[tokio::test]
async fn an_optional_session_is_none_where_nothing_valid_came() {
    let app = app(&carts(Flaky::default()));
    for cookies in ["", "__Host-cart=junk", "theme=dark"] {
        assert_eq!(text(send(&app, "/optional", cookies).await).await, "none");
    }
    let cookies = next("", &send(&app, "/add", "").await);
    assert_eq!(text(send(&app, "/optional", &cookies).await).await, "1");
}

#[tokio::test]
async fn a_handler_without_the_layer_is_told_so() {
    let app = Router::new().route("/", get(|_: Session<Cart>| async {}));
    let response = send(&app, "/", "").await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(text(response).await, "there is no session layer for axum::Cart around this handler");
}

#[tokio::test]
async fn a_store_that_fails_is_a_503_and_loses_nothing() {
    let store = Flaky::default();
    let app = app(&carts(store.clone()));
    let cookies = next("", &send(&app, "/fill", "").await);
    store.down.store(true, Ordering::SeqCst);
    let small = next("", &send(&app, "/add", "").await);
    for (path, cookies) in
        [("/count", cookies.as_str()), ("/add", &cookies), ("/fill", &small), ("/fill", "")]
    {
        let response = send(&app, path, cookies).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
        untouched(&response);
    }
    store.down.store(false, Ordering::SeqCst);
    assert_eq!(text(send(&app, "/count", &cookies).await).await, "499");
}

#[tokio::test]
async fn a_value_that_fits_nowhere_is_a_500_with_the_cookies_untouched() {
    let app = app(&carts(Flaky::default()));
    let response = send(&app, "/too-large", "").await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    untouched(&response);
}

#[tokio::test]
async fn of_two_writers_of_a_stored_session_one_is_told() {
    let carts = carts(Flaky::default());
    let cookies = next("", &send(&app(&carts), "/fill", "").await);
    let mut one = carts.load_from([cookies.as_str()]).await.expect("the store works");
    let mut two = carts.load_from([cookies.as_str()]).await.expect("the store works");
    one.items.push("tea".into());
    two.items.push("rum".into());
    carts.commit(&mut one, &mut HeaderMap::new()).await.expect("the first wins");
    let mut headers = HeaderMap::new();
    let error = carts.commit(&mut two, &mut headers).await.expect_err("the second lost");
    assert!(error.is_conflict() && error.status() == StatusCode::CONFLICT && headers.is_empty());
}

#[tokio::test]
async fn a_logout_is_not_undone_by_a_slower_response() {
    let carts = carts(Flaky::default());
    for rotate in [false, true] {
        let cookies = next("", &send(&app(&carts), "/fill", "").await);
        let mut slow = carts.load_from([cookies.as_str()]).await.expect("the store works");
        slow.items.push("tea".into());
        if rotate {
            slow.rotate();
        }
        send(&app(&carts), "/logout", &cookies).await;
        let error = carts.commit(&mut slow, &mut HeaderMap::new()).await.expect_err("it is over");
        assert!(error.is_conflict());
        let later = carts.load_from([cookies.as_str()]).await.expect("the store works");
        assert!(later.is_fresh());
    }
}

#[tokio::test]
async fn a_rotation_that_lost_a_race_leaves_no_record_behind() {
    let store = Flaky::default();
    let carts = carts(store.clone());
    let cookies = next("", &send(&app(&carts), "/fill", "").await);
    let mut late = carts.load_from([cookies.as_str()]).await.expect("the store works");
    send(&app(&carts), "/add", &cookies).await;
    late.rotate();
    let error = carts.commit(&mut late, &mut HeaderMap::new()).await.expect_err("somebody was first");
    assert!(error.is_conflict());
    let newest = carts.load_from([cookies.as_str()]).await.expect("the store works");
    assert_eq!(newest.items.len(), 500);
}

#[tokio::test]
async fn logging_out_leaves_nothing_in_the_browser_and_nothing_in_the_store() {
    let carts = carts(Flaky::default());
    let app = app(&carts);
    let stored = next("", &send(&app, "/fill", "").await);
    assert_eq!(next(&stored, &send(&app, "/logout", &stored).await), "");
    assert_eq!(text(send(&app, "/count", &stored).await).await, "0", "the copied reference is worth nothing");

    let cookies = next("", &send(&app, "/add", "").await);
    let greeted = next(&cookies, &send(&app, "/logout-and-greet", &cookies).await);
    let before = carts.load_from([cookies.as_str()]).await.expect("the store works");
    let after = carts.load_from([greeted.as_str()]).await.expect("the store works");
    assert_eq!(after.items, ["goodbye"]);
    assert_ne!(before.id(), after.id());
}

#[tokio::test]
async fn sessions_beside_one_another_share_one_budget() {
    async fn both(mut login: Session<Login>, mut cart: Session<Cart>) {
        login.user = Some(noise(200).concat());
        cart.items = noise(100);
    }
    async fn read(login: Session<Login>, cart: Session<Cart>) -> String {
        format!("{:?} {:?}", login.placement().is_some(), cart.placement())
    }
    let carts = carts(Flaky::default());
    let logins: SessionManager<Login> =
        SessionManager::builder("__Host-login", ring()).build().expect("settings that work");
    let app = Router::new()
        .route("/", get(both))
        .route("/read", get(read))
        .layer(SessionLayer::new(Arc::clone(&carts)))
        .layer(SessionLayer::new(logins));
    let response = send(&app, "/", "").await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR, "the login has no store to go to");

    // The layer that can give way goes outside: it commits last.
    let logins: SessionManager<Login> =
        SessionManager::builder("__Host-login", ring()).build().expect("settings that work");
    let app = Router::new()
        .route("/", get(both))
        .route("/read", get(read))
        .layer(SessionLayer::new(logins))
        .layer(SessionLayer::new(carts));
    let response = send(&app, "/", "").await;
    assert_eq!(response.status(), StatusCode::OK);
    let header: usize =
        set_cookies(&response).iter().map(|field| "Set-Cookie: \r\n".len() + field.len()).sum();
    assert!(header <= Budget::default().total());
    let cookies = next("", &response);
    let expected = format!("true {:?}", Some(Placement::Stored));
    assert_eq!(text(send(&app, "/read", &cookies).await).await, expected);
}

#[tokio::test]
async fn the_error_hook_answers_and_other_sessions_cookies_stay() {
    async fn both(mut login: Session<Login>, mut cart: Session<Cart>) {
        login.user = Some("ada".into());
        cart.items = vec!["x".repeat(100_000)];
    }
    let logins: SessionManager<Login> =
        SessionManager::builder("__Host-login", ring()).build().expect("settings that work");
    let hook = |error: &CommitError| {
        let mut response = Response::new(format!("sorry: {error}"));
        *response.status_mut() = StatusCode::INSUFFICIENT_STORAGE;
        response
    };
    let app = Router::new()
        .route("/", get(both))
        .layer(SessionLayer::new(logins))
        .layer(SessionLayer::new(carts(Flaky::default())).on_error(hook));
    let response = send(&app, "/", "").await;
    assert_eq!(response.status(), StatusCode::INSUFFICIENT_STORAGE);
    assert!(set_cookies(&response).iter().all(|field| field.starts_with("__Host-login=")));
    assert_eq!(set_cookies(&response).len(), 1);
    assert_eq!(text(response).await, "sorry: the session could not be sealed");
}

#[tokio::test]
async fn tests_of_handlers_can_mint_cookies() {
    let carts = carts(Flaky::default());
    let header = carts
        .mint(|session| {
            session.items.push("tea".into());
            session.set_subject("ada");
            session.rotate();
        })
        .await
        .expect("it fits");
    assert_eq!(text(send(&app(&carts), "/count", &header).await).await, "1");
    assert_eq!(carts.mint(|_| ()).await.expect("nothing to save"), "");
}

#[tokio::test]
async fn any_cookie_header_is_answered() {
    let app = app(&carts(Flaky::default()));
    for cookies in
        ["__Host-cart", "=", ";;;", "__Host-cart=\"x\"", "__Host-cart=AAAAAC.x; __Host-cart.1=AAAABC.y"]
    {
        assert_eq!(send(&app, "/count", cookies).await.status(), StatusCode::OK);
    }
}
