//! `PostgresStore`: the contract, and what it promises beside it, on a real server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hardtack::store::{PostgresStore, StoreError};
use sqlx::{Connection, Executor, PgConnection, Row};

use crate::cases::{AnyStore, hold_all_to_the_contract};
use crate::servers::Postgres;
use crate::sql_server::{PATIENCE, SqlServer, hold_to_the_promises_of_sql_servers};

hold_to_the_promises_of_sql_servers!(Postgres);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_holds_to_the_contract() {
    let server = Postgres::start();
    hold_all_to_the_contract!(fresh(&server).await);
}

/// A store in a schema of its own.
async fn fresh(server: &Postgres) -> AnyStore {
    static SCHEMAS: AtomicU32 = AtomicU32::new(0);
    let schema = format!("case_{}", SCHEMAS.fetch_add(1, Ordering::Relaxed));
    server.run(format!("CREATE SCHEMA {schema}")).await;
    let url = format!("{}?options=-csearch_path%3D{schema}", server.url("postgres"));
    let store = PostgresStore::connect(&url).await.expect("connect").with_deadline(PATIENCE);
    store.create_schema().await.expect("create the schema");
    Arc::new(store)
}

#[tokio::test]
async fn debug_shows_the_server_and_no_secret() {
    let server = Postgres::start();
    let store = PostgresStore::connect(&server.url("postgres")).await.expect("connect");
    let expected = format!("PostgresStore(PostgreSQL at 127.0.0.1:{}, database postgres)", server.port());
    assert_eq!(format!("{store:?}"), expected);
}

impl SqlServer for Postgres {
    const NAME: &str = "PostgreSQL";
    const NTH_ID: &str = "decode(lpad(to_hex(n), 32, '0'), 'hex')";
    const NUMBERS: &str = "generate_series(1, 20000) AS n";
    const ANALYZE: &str = "ANALYZE hardtack_sessions";
    const UNKNOWN_DATABASE: &str = "database \"nowhere\" does not exist";
    const WRONG_PASSWORD: &str = "password authentication failed for user \"hardtack\"";
    const NO_TABLE: &str = "relation \"hardtack_sessions\" does not exist";
    const READ_ONLY: &str = "in a read-only transaction";

    fn kill(&mut self) {
        self.kill();
    }

    fn restart(&mut self) {
        self.restart();
    }

    fn port(&self) -> u16 {
        self.port()
    }

    fn url(&self, port: u16) -> String {
        Self::url_through(port, "postgres")
    }

    async fn connect(url: &str, connections: u16, deadline: Duration) -> Result<AnyStore, StoreError> {
        let store = PostgresStore::connect(url).await?;
        Ok(Arc::new(store.with_connections(connections).with_deadline(deadline)))
    }

    async fn create_schema(url: &str) -> Result<(), StoreError> {
        PostgresStore::connect(url).await?.create_schema().await
    }

    async fn run(&self, script: String) -> Vec<String> {
        let mut connection = PgConnection::connect(&self.url("postgres")).await.expect("connect");
        let rows =
            connection.fetch_all(sqlx::raw_sql(sqlx::AssertSqlSafe(script))).await.expect("it is right");
        rows.iter().map(|row| row.get(0)).collect()
    }

    async fn read_only(&self) -> String {
        self.run("ALTER DATABASE postgres SET default_transaction_read_only = on".to_owned()).await;
        self.url("postgres")
    }

    async fn statements(&self) -> Vec<String> {
        let of_others = "SELECT query FROM pg_stat_activity \
            WHERE pid <> pg_backend_pid() AND query LIKE '%hardtack_sessions%' \
            AND query NOT LIKE 'DO %' AND query NOT LIKE '%pg_stat_activity%'";
        self.run(of_others.to_owned()).await
    }

    async fn scans(&self, statement: &str) -> bool {
        let arguments = (1..=5).filter(|n| statement.contains(&format!("${n}"))).map(|_| "NULL");
        let arguments = arguments.collect::<Vec<_>>().join(", ");
        let execute = if arguments.is_empty() { "asked".to_owned() } else { format!("asked ({arguments})") };
        let plan = self.run(format!(
            "SET plan_cache_mode = force_generic_plan; PREPARE asked AS {statement}; EXPLAIN EXECUTE {execute}"
        ));
        let plan = plan.await.join("\n");
        // Without a condition, an index is read from one end to the other.
        plan.contains("Seq Scan") || plan.matches("Scan using").count() > plan.matches("Index Cond").count()
    }
}
