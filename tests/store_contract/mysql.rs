//! `MySqlStore`: the contract, and what it promises beside it, on a real server of `MariaDB`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hardtack::store::{MySqlStore, StoreError};
use sqlx::{Connection, Executor, MySqlConnection, Row};

use crate::cases::{AnyStore, ID, failed, hold_all_to_the_contract, in_an_hour, insert, load, record};
use crate::servers::Mariadb;
use crate::sql_server::{PATIENCE, SqlServer, hold_to_the_promises_of_sql_servers, ready};

hold_to_the_promises_of_sql_servers!(Mariadb);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_holds_to_the_contract() {
    let server = Mariadb::start();
    hold_all_to_the_contract!(fresh(&server).await);
}

/// A store in a database of its own.
async fn fresh(server: &Mariadb) -> AnyStore {
    static DATABASES: AtomicU32 = AtomicU32::new(0);
    let name = format!("case_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    server.run(format!("CREATE DATABASE {name}")).await;
    let store = MySqlStore::connect(&server.url(&name)).await.expect("connect").with_deadline(PATIENCE);
    store.create_schema().await.expect("create the schema");
    Arc::new(store)
}

#[tokio::test]
async fn debug_shows_the_server_and_no_secret() {
    let server = Mariadb::start();
    let store = MySqlStore::connect(&server.url("hardtack")).await.expect("connect");
    let expected = format!("MySqlStore(MySQL at 127.0.0.1:{}, database hardtack)", server.port());
    assert_eq!(format!("{store:?}"), expected);
}

#[tokio::test]
async fn a_url_without_a_database_is_refused() {
    let error = failed(MySqlStore::connect("mysql://shop:secret@127.0.0.1").await);
    assert_eq!(
        std::error::Error::source(&error).map(ToString::to_string).as_deref(),
        Some("it names no database")
    );
}

/// A server that commits nothing by itself, locks gaps, and cuts off what does not fit.
#[tokio::test]
async fn the_defaults_of_the_server_do_not_matter() {
    let server = Mariadb::start();
    let lax = "SET GLOBAL autocommit = 0, GLOBAL sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT'; \
        SET GLOBAL TRANSACTION ISOLATION LEVEL SERIALIZABLE";
    server.run(lax.to_owned()).await;
    let store = ready(&server).await;
    insert(&store, &record(3, in_an_hour(), b"sealed")).await;
    let other = <Mariadb as SqlServer>::connect(&server.url("hardtack"), 1, PATIENCE).await.expect("connect");
    assert_eq!(load(&other, ID).await, Some(record(3, in_an_hour(), b"sealed")));

    server.run("ALTER TABLE hardtack_sessions MODIFY sealed VARBINARY(8) NOT NULL".to_owned()).await;
    let long = record(4, in_an_hour(), b"longer than that");
    failed(store.save(&long, hardtack::store::Expect::Version(3)).await);
    assert_eq!(load(&store, ID).await, Some(record(3, in_an_hour(), b"sealed")));
}

impl SqlServer for Mariadb {
    const NAME: &str = "MySQL";
    const NTH_ID: &str = "UNHEX(LPAD(HEX(n), 32, '0'))";
    const NUMBERS: &str = "(SELECT seq AS n FROM seq_1_to_20000) AS numbers";
    const ANALYZE: &str = "ANALYZE TABLE hardtack_sessions";
    const UNKNOWN_DATABASE: &str = "Unknown database 'nowhere'";
    const WRONG_PASSWORD: &str = "Access denied for user 'hardtack'@";
    const NO_TABLE: &str = "Table 'hardtack.hardtack_sessions' doesn't exist";
    const READ_ONLY: &str = "running with the --read-only option";

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
        Self::url_through(port, "hardtack")
    }

    async fn connect(url: &str, connections: u16, deadline: Duration) -> Result<AnyStore, StoreError> {
        let store = MySqlStore::connect(url).await?;
        Ok(Arc::new(store.with_connections(connections).with_deadline(deadline)))
    }

    async fn create_schema(url: &str) -> Result<(), StoreError> {
        MySqlStore::connect(url).await?.create_schema().await
    }

    async fn run(&self, script: String) -> Vec<String> {
        let mut connection = MySqlConnection::connect(&self.url("hardtack")).await.expect("connect");
        let rows =
            connection.fetch_all(sqlx::raw_sql(sqlx::AssertSqlSafe(script))).await.expect("it is right");
        rows.iter()
            .map(|row| String::from_utf8_lossy(&row.get_unchecked::<Vec<u8>, _>(0)).into_owned())
            .collect()
    }

    async fn read_only(&self) -> String {
        // Who may do anything may write even then.
        let script = "CREATE USER shop@'%' IDENTIFIED BY 'correct-horse'; GRANT ALL ON hardtack.* TO shop@'%'; \
            SET GLOBAL read_only = 1";
        self.run(script.to_owned()).await;
        self.url("hardtack").replace("hardtack:", "shop:")
    }

    async fn statements(&self) -> Vec<String> {
        let prepared = "SELECT sql_text FROM performance_schema.prepared_statements_instances";
        self.run(prepared.to_owned()).await
    }

    async fn scans(&self, statement: &str) -> bool {
        // What is inserted is looked up by its key, which is not shown.
        if statement.starts_with("INSERT") {
            return false;
        }
        let id = "x'00000000000000000000000000004e20'";
        let plan = self.run(format!("EXPLAIN FORMAT=JSON {}", statement.replace('?', id))).await.join("\n");
        let tables = plan
            .split("\"table_name\": ")
            .filter(|table| table.starts_with("\"hardtack_sessions\"") || table.starts_with("\"swept\""));
        let accesses: Vec<_> = tables.map(|table| table.split("\"access_type\": ").nth(1)).collect();
        assert!(!accesses.is_empty(), "{plan}");
        accesses.iter().any(|access| access.is_none_or(|access| access.starts_with("\"ALL\"")))
    }
}
