//! A small shop whose carts live in the browser until they are too large for that.
//!
//! `cargo run --example shop`, then open the address that it prints. The page shows the cart and, beside it, where the
//! session is and what it takes. See `settings.rs` for the environment variables.

mod form;
mod goods;
mod page;
mod report;
mod settings;
mod stopped;
mod store;

use std::error::Error;
use std::iter;
use std::process::ExitCode;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::map_response;
use axum::response::{Html, IntoResponse, Redirect, Response, Result};
use axum::routing::{get, post};
use axum::{Json, Router};
use hardtack::axum::{Session, SessionLayer};
use hardtack::{CommitError, KeyRing, NoRandom, OsRandom, SessionManager};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use form::{BadInput, Number, Text, Valid};
use goods::Line;
use report::Report;
use settings::Settings;

/// What a session holds.
#[derive(Default, Serialize, Deserialize)]
struct Shop {
    user: Option<String>,
    cart: Vec<Line>,
}

type Sessions = Arc<SessionManager<Shop>>;

/// How many lines a cart holds.
const MOST_LINES: usize = 2_000;

/// Enough for the fullest cart: a line has a name of at most 80 characters, which are 320 octets, and little else.
const MOST_OCTETS: usize = 1024 * 1024;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shop: {}", with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let settings = Settings::from_env()?;
    let ring = KeyRing::from_file_or_new(&settings.keys)?;
    let sessions = SessionManager::<Shop>::builder(settings.cookie_name(), ring)
        .app("shop")
        .budget(settings.budget)
        .max_value(MOST_OCTETS)
        .shared_store(store::open(&settings.store, settings.copies).await?);
    let sessions = if settings.secure { sessions } else { sessions.insecure() };
    let sessions = match &settings.affinity {
        Some(name) => sessions.affinity(name),
        None => sessions,
    };
    let sessions = sessions.build()?;

    let stopped = stopped::stopped()?;
    let address = (settings.host.as_str(), settings.port);
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .map_err(|error| format!("cannot listen at HOST={} PORT={}: {error}", address.0, address.1))?;
    println!("The shop is open at http://{}/ until Ctrl-C.", listener.local_addr()?);
    println!("Keys are in {}, large carts in {}.", settings.keys.display(), store::address(&settings.store));
    axum::serve(listener, routes(sessions.into())).with_graceful_shutdown(stopped).await?;
    Ok(())
}

fn routes(sessions: Sessions) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/session.json", get(session_json))
        .route("/cart.json", get(cart_json))
        .route("/cart", post(add))
        .route("/cart/fill", post(fill))
        .route("/cart/remove", post(remove))
        .route("/cart/clear", post(clear))
        .route("/login", post(login))
        .route("/logout", post(logout))
        .route("/style.css", get(asset("text/css; charset=utf-8", include_str!("style.css"))))
        .route("/biscuit.svg", get(asset("image/svg+xml", include_str!("biscuit.svg"))))
        .layer(SessionLayer::new(Arc::clone(&sessions)))
        .layer(map_response(guarded))
        .layer(DefaultBodyLimit::max(16 * 1024))
        .with_state(sessions)
}

async fn index(
    State(sessions): State<Sessions>,
    session: Session<Shop>,
    headers: HeaderMap,
) -> Result<Html<String>> {
    let usage = sessions.cookie().usage(&session).map_err(CommitError::from)?;
    let sent = report::sent(&headers, sessions.cookie().name());
    let now = OffsetDateTime::now_utc();
    Ok(Html(page::Page { session: &session, usage, sent, now }.to_string()))
}

async fn session_json(State(sessions): State<Sessions>, session: Session<Shop>) -> Result<Json<Report>> {
    let usage = sessions.cookie().usage(&session).map_err(CommitError::from)?;
    Ok(Json(Report::new(&session, &usage)))
}

/// Whose cart it is and what is in it.
async fn cart_json(session: Session<Shop>) -> Response {
    Json(&**session).into_response()
}

#[derive(Deserialize)]
struct NewLine {
    name: Text<80>,
    qty: Number<99>,
}

/// Whoever clicks twice, or in two tabs, gets both lines: the second is added to what the first has left.
async fn add(mut session: Session<Shop>, Valid(new): Valid<NewLine>) -> Result<Redirect> {
    let line = Line::new(new.name.into(), new.qty.get(), &mut OsRandom).map_err(no_random)?;
    let mut room = Ok(());
    session
        .update(|shop| {
            room = has_room(shop, 1);
            if room.is_ok() {
                shop.cart.push(line.clone());
            }
        })
        .await?;
    room?;
    Ok(Redirect::to("/"))
}

#[derive(Deserialize)]
struct Fill {
    n: Number<1_000>,
}

async fn fill(mut session: Session<Shop>, Valid(fill): Valid<Fill>) -> Result<Redirect> {
    let count = usize::from(fill.n.get());
    has_room(&session, count)?;
    let lines = (0..count).map(|_| Line::generate(&mut OsRandom)).collect::<Result<Vec<_>, _>>();
    session.cart.extend(lines.map_err(no_random)?);
    Ok(Redirect::to("/"))
}

#[derive(Deserialize)]
struct Remove {
    line: Text<32>,
}

async fn remove(mut session: Session<Shop>, Valid(remove): Valid<Remove>) -> Redirect {
    let id = String::from(remove.line);
    session.cart.retain(|line| line.id() != id);
    Redirect::to("/")
}

async fn clear(mut session: Session<Shop>) -> Redirect {
    session.cart.clear();
    Redirect::to("/")
}

#[derive(Deserialize)]
struct Login {
    user: Text<40>,
}

/// A real shop asks for a password here. Whatever it asks for, the session gets a new id when it has the answer.
async fn login(mut session: Session<Shop>, Valid(login): Valid<Login>) -> Redirect {
    let user = String::from(login.user);
    session.rotate();
    session.set_subject(&user);
    session.user = Some(user);
    Redirect::to("/")
}

async fn logout(mut session: Session<Shop>) -> Redirect {
    session.destroy();
    Redirect::to("/")
}

fn has_room(shop: &Shop, lines: usize) -> Result<(), BadInput> {
    if shop.cart.len() + lines > MOST_LINES {
        return Err(BadInput::new(format!("a cart holds at most {MOST_LINES} lines")));
    }
    Ok(())
}

fn no_random(error: NoRandom) -> (StatusCode, String) {
    (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n"))
}

fn asset(kind: &'static str, text: &'static str) -> impl IntoResponse + Clone + Send + Sync + 'static {
    ([(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-cache")], text)
}

/// Headers for every response: no scripts, no frames, nothing from elsewhere, nothing kept in caches.
async fn guarded(mut response: Response) -> Response {
    let policy = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; \
                  frame-ancestors 'none'";
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// An error and what led to it, on one line.
fn with_causes(error: &(dyn Error + 'static)) -> String {
    let causes = iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
