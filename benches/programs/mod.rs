//! The same small axum program on different sessions: it reads one, or changes it.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::routing::get;
use hardtack::axum::SessionLayer;
use hardtack::{Budget, Key, KeyRing, OsRandom, SessionManager, Store};
use tower::ServiceExt as _;
use tower_sessions::{SessionManagerLayer, SessionStore};

use crate::samples::{Login, Sample as _};

/// How many requests are on their way at once, each of another visitor.
pub(crate) const LANES: usize = 16;

/// How many requests a visitor makes in a slice: in step with the others at its ends only, as visitors are.
const VISIT: usize = 4;

/// A program, and its visitors' cookies.
pub(crate) struct Program {
    router: Router,
    cookies: Vec<String>,
}

impl Program {
    pub(crate) async fn hardtack(store: Arc<dyn Store>) -> Self {
        let ring = KeyRing::new([Key::generate(&mut OsRandom).expect("random bytes")]).expect("one key");
        let sessions = SessionManager::<Login>::builder("__Host-session", ring)
            .budget(Budget::stored())
            .shared_store(store)
            .build()
            .expect("settings that work");
        let mut cookies = Vec::new();
        for _ in 0..LANES {
            cookies.push(sessions.mint(|session| **session = Login::load()).await.expect("it is stored"));
        }
        let router = Router::new()
            .route("/read", get(hardtack_read))
            .route("/write", get(hardtack_write))
            .layer(SessionLayer::new(sessions));
        Self { router, cookies }.checked().await
    }

    pub(crate) async fn tower_sessions(store: impl SessionStore + Clone) -> Self {
        let router = Router::new()
            .route("/read", get(tower_read))
            .route("/write", get(tower_write))
            .layer(SessionManagerLayer::new(store));
        let mut cookies = Vec::new();
        for _ in 0..LANES {
            let response = router.clone().oneshot(request("/write", "")).await.expect("it is infallible");
            let set = response.headers()["set-cookie"].to_str().expect("ASCII");
            cookies.push(set.split(';').next().expect("a pair").to_owned());
        }
        Self { router, cookies }.checked().await
    }

    /// Each visitor has a session, and what is written is there.
    async fn checked(self) -> Self {
        for lane in 0..LANES {
            let before = self.ask("/read", lane).await;
            assert_eq!(before, self.ask("/read", lane).await);
            assert_eq!(self.ask("/write", lane).await, before + 1);
            assert_eq!(self.ask("/read", lane).await, before + 1);
        }
        self
    }

    /// One request of this visitor, and the number in its answer.
    pub(crate) async fn ask(&self, path: &str, lane: usize) -> u64 {
        let response = self.router.clone().oneshot(request(path, &self.cookies[lane])).await;
        let response = response.expect("it is infallible");
        assert_eq!(response.status(), StatusCode::OK);
        let body = axum::body::to_bytes(response.into_body(), 64).await.expect("a short text");
        str::from_utf8(&body).ok().and_then(|text| text.parse().ok()).expect("a number")
    }

    /// Some requests of every visitor, one after the other, and all visitors at once.
    pub(crate) async fn ask_all(&self, path: &str) {
        let visits = (0..LANES).map(async |lane| {
            for _ in 0..VISIT {
                self.ask(path, lane).await;
            }
        });
        futures_util::future::join_all(visits).await;
    }
}

fn request(path: &str, cookie: &str) -> Request<Body> {
    Request::get(path).header("cookie", cookie).body(Body::empty()).expect("a valid request")
}

async fn hardtack_read(session: hardtack::axum::Session<Login>) -> String {
    session.seen.to_string()
}

async fn hardtack_write(mut session: hardtack::axum::Session<Login>) -> String {
    session.seen += 1;
    session.seen.to_string()
}

async fn tower_read(session: tower_sessions::Session) -> String {
    let login: Login = session.get("login").await.expect("the store answers").expect("it is there");
    login.seen.to_string()
}

async fn tower_write(session: tower_sessions::Session) -> String {
    let login: Option<Login> = session.get("login").await.expect("the store answers");
    let mut login = login.unwrap_or_else(Login::load);
    login.seen += 1;
    session.insert("login", &login).await.expect("it is encoded");
    login.seen.to_string()
}
