//! Counts your visits: `cargo run --example minimal`, open `http://localhost:3001`, reload.
use hardtack::axum::{Session, SessionLayer};
use hardtack::{KeyRing, SessionManager};

#[derive(Default, serde::Serialize, serde::Deserialize)]
struct Visits(u32);

async fn index(mut visits: Session<Visits>) -> String {
    visits.0 += 1;
    format!("This is visit number {}.\n", visits.0)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let ring = KeyRing::from_file_or_new("session-keys.json")?;
    let sessions = SessionManager::<Visits>::builder("__Host-session", ring).build()?;
    let app = axum::Router::new().route("/", axum::routing::get(index)).layer(SessionLayer::new(sessions));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3001").await?;
    Ok(axum::serve(listener, app).await?)
}
