//! Opening the log by its address (`DATABASE_URL`), whichever store it names.
//!
//! `sqlite://PATH` is a file and brings itself up to date when it is opened for writing. `postgres://…` is a database
//! that was migrated ([`migrate`]); its URL takes what libpq's takes, `sslmode` among it. `dynamodb://PREFIX` names the
//! tables' prefix, in builds with the feature `dynamodb`.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr as _,
    sync::Arc,
};

use harmony_incidents::{OrgId, record::SaltKey};
use sqlx::postgres::PgConnectOptions;

#[cfg(feature = "dynamodb")]
use crate::dynamo::DynamoLog;
use crate::{
    append::Onward,
    postgres::{self, PostgresLog},
    rebuild::Rebuilt,
    sqlite::{self, SqliteLog},
    store::{LogError, SharedLog},
};

/// Where a log is. Shown without its password.
#[derive(Clone)]
pub enum Address {
    /// A file.
    Sqlite(PathBuf),
    /// A database.
    Postgres(Box<PgConnectOptions>),
    /// The prefix of the tables' names.
    Dynamodb(String),
}

/// Why an address is none. Never repeats the address: it may hold a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AddressError(String);

/// What a log is opened for.
#[derive(Debug, Clone)]
pub enum Access {
    /// Reading and writing; a file that is not there is made.
    Create(SaltKey),
    /// Reading and writing what must be there.
    Existing(SaltKey),
    /// Reading alone: nothing of the store is changed, not even its schema. With the salt key, verifying compares salts.
    Audit(Option<SaltKey>),
}

/// A schema as it is and as this build needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schema {
    /// Of the store; 0 where there is none yet.
    pub found: i64,
    /// Of this build.
    pub known: i64,
}

impl Address {
    /// Reads an address.
    pub fn parse(url: &str) -> Result<Self, AddressError> {
        let refused = |why: &str| AddressError(why.to_owned());
        match url.split(':').next().unwrap_or_default() {
            "sqlite" => {
                let path = url.trim_start_matches("sqlite:").trim_start_matches("//");
                if path.is_empty() || path.contains(['?', '#']) || path.contains(":memory:") {
                    return Err(refused("a log is a file: sqlite://PATH, without parameters"));
                }
                Ok(Self::Sqlite(PathBuf::from(path)))
            }
            "postgres" | "postgresql" => match PgConnectOptions::from_str(url) {
                Ok(options) => Ok(Self::Postgres(Box::new(options.application_name("harmony")))),
                Err(error) => {
                    Err(AddressError(format!("it is no address of a PostgreSQL database: {error}")))
                }
            },
            "dynamodb" => {
                let prefix = url.trim_start_matches("dynamodb:").trim_start_matches("//");
                // What DynamoDB takes in the name of a table.
                let is_name =
                    |character: char| character.is_ascii_alphanumeric() || "_-.".contains(character);
                if prefix.is_empty() || !prefix.chars().all(is_name) {
                    return Err(refused(
                        "tables have a prefix of letters, digits, _ - and .: dynamodb://PREFIX",
                    ));
                }
                Ok(Self::Dynamodb(prefix.to_owned()))
            }
            _ => Err(refused("it starts with none of sqlite://, postgres://, dynamodb://")),
        }
    }

    /// The file, where it is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(path) => Some(path),
            Self::Postgres(_) | Self::Dynamodb(_) => None,
        }
    }

    /// The store's name, for people.
    pub fn store(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "SQLite",
            Self::Postgres(_) => "PostgreSQL",
            Self::Dynamodb(_) => "DynamoDB",
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(formatter, "{}", path.display()),
            Self::Postgres(options) => formatter.write_str(&postgres::place(options)),
            Self::Dynamodb(prefix) => write!(formatter, "dynamodb://{prefix}"),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Address({self})")
    }
}

/// Opens a log. `pool_size` is how many connections a store that is a server gets from this process at most.
pub async fn open(address: &Address, access: Access, pool_size: u32) -> Result<SharedLog, LogError> {
    open_for(address, access, pool_size, Onward::default()).await
}

/// The same for a process whose records go on.
pub async fn open_for(
    address: &Address,
    access: Access,
    pool_size: u32,
    onward: Onward,
) -> Result<SharedLog, LogError> {
    match address {
        Address::Sqlite(path) => {
            let log = match access {
                Access::Create(salt) => SqliteLog::open(path, salt).await?,
                Access::Existing(salt) => SqliteLog::open_existing(path, salt).await?,
                Access::Audit(salt) => SqliteLog::audit(path, salt).await?,
            };
            Ok(Arc::new(log.fanning_out(onward)))
        }
        Address::Postgres(options) => {
            let options = options.as_ref().clone();
            let log = match access {
                Access::Create(salt) | Access::Existing(salt) => {
                    PostgresLog::open(options, pool_size, salt).await?
                }
                Access::Audit(salt) => PostgresLog::audit(options, pool_size, salt).await?,
            };
            Ok(Arc::new(log.fanning_out(onward)))
        }
        #[cfg(feature = "dynamodb")]
        Address::Dynamodb(prefix) => {
            let client = DynamoLog::client().await;
            let log = match access {
                Access::Create(salt) | Access::Existing(salt) => {
                    DynamoLog::open(client, prefix, salt).await?
                }
                Access::Audit(salt) => DynamoLog::audit(client, prefix, salt).await?,
            };
            Ok(Arc::new(log.fanning_out(onward)))
        }
        #[cfg(not(feature = "dynamodb"))]
        Address::Dynamodb(_) => Err(without_dynamodb(address)),
    }
}

/// The schema of a store, without touching it.
pub async fn schema(address: &Address) -> Result<Schema, LogError> {
    match address {
        Address::Sqlite(path) => {
            let known = sqlite::schema::known();
            Ok(Schema { found: sqlite::schema::found(path).await?, known })
        }
        Address::Postgres(options) => {
            let known = postgres::schema::known();
            Ok(Schema { found: postgres::schema::found(options).await?, known })
        }
        #[cfg(feature = "dynamodb")]
        Address::Dynamodb(prefix) => {
            let (found, known) = DynamoLog::schema(&DynamoLog::client().await, prefix).await?;
            Ok(Schema { found, known })
        }
        #[cfg(not(feature = "dynamodb"))]
        Address::Dynamodb(_) => Err(without_dynamodb(address)),
    }
}

/// Brings a store up to this build's schema; tells which it had. Nothing happens where it has it.
pub async fn migrate(address: &Address) -> Result<Schema, LogError> {
    match address {
        Address::Sqlite(path) => {
            let found = sqlite::schema::migrate_file(path).await?;
            Ok(Schema { found, known: sqlite::schema::known() })
        }
        Address::Postgres(options) => {
            let found = postgres::schema::migrate(options).await?;
            Ok(Schema { found, known: postgres::schema::known() })
        }
        #[cfg(feature = "dynamodb")]
        Address::Dynamodb(prefix) => {
            let (found, known) = DynamoLog::migrate(&DynamoLog::client().await, prefix).await?;
            Ok(Schema { found, known })
        }
        #[cfg(not(feature = "dynamodb"))]
        Address::Dynamodb(_) => Err(without_dynamodb(address)),
    }
}

/// Makes an organisation's projections again, from its records.
pub async fn rebuild(address: &Address, org: &OrgId) -> Result<Rebuilt, LogError> {
    match address {
        Address::Sqlite(path) => sqlite::rebuild(path, org).await,
        Address::Postgres(options) => postgres::rebuild(options, org).await,
        #[cfg(feature = "dynamodb")]
        Address::Dynamodb(prefix) => DynamoLog::rebuild(DynamoLog::client().await, prefix, org).await,
        #[cfg(not(feature = "dynamodb"))]
        Address::Dynamodb(_) => Err(without_dynamodb(address)),
    }
}

#[cfg(not(feature = "dynamodb"))]
fn without_dynamodb(address: &Address) -> LogError {
    LogError::Open {
        path: address.to_string(),
        reason: "this program was built without the feature dynamodb".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_a_store_and_show_no_password() {
        for (url, store, shown) in [
            ("sqlite:///var/lib/harmony.db", "SQLite", "/var/lib/harmony.db"),
            ("sqlite:harmony.db", "SQLite", "harmony.db"),
            ("postgres://me:hunter2@db:5433/log?sslmode=require", "PostgreSQL", "postgres://db:5433/log"),
            ("postgresql://me:hunter2@db/log", "PostgreSQL", "postgres://db:5432/log"),
            ("dynamodb://prod-harmony", "DynamoDB", "dynamodb://prod-harmony"),
        ] {
            let address = Address::parse(url).unwrap();
            assert_eq!((address.store(), address.to_string().as_str()), (store, shown));
            assert!(!format!("{address:?}").contains("hunter2"));
        }
    }

    #[test]
    fn what_is_no_address_is_refused_without_repeating_it() {
        for (url, why) in [
            ("", "none of sqlite://"),
            ("mysql://me:hunter2@db/log", "none of sqlite://"),
            ("sqlite://", "a log is a file"),
            ("sqlite://:memory:", "a log is a file"),
            ("sqlite:///a.db?mode=memory", "without parameters"),
            ("postgres://me:hunter2@db:port/log", "no address of a PostgreSQL database"),
            ("postgres://me:hunter2@db/log?sslmode=perhaps", "no address of a PostgreSQL database"),
            ("dynamodb://", "tables have a prefix"),
            ("dynamodb://a/b", "tables have a prefix"),
        ] {
            let error = Address::parse(url).unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains("hunter2"), "{url}: {error}");
        }
    }
}
