//! The database file `state.db`.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, TransactionBehavior};

use crate::ports::failure::Failure;

/// Layout of the database, kept in SQLite's `user_version`.
const FORMAT: i64 = 3;
/// How long one process waits for another's write; each takes a few milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

const TABLES: &str = "
    CREATE TABLE lanes (
        lane TEXT PRIMARY KEY, version INTEGER NOT NULL, format INTEGER NOT NULL, state TEXT NOT NULL,
        active INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE builds (
        lane TEXT NOT NULL, number INTEGER NOT NULL, lane_version INTEGER NOT NULL, record TEXT NOT NULL,
        PRIMARY KEY (lane, number)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE deploys (
        lane TEXT PRIMARY KEY, lane_version INTEGER NOT NULL, status TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE parameters (
        name TEXT PRIMARY KEY, value TEXT NOT NULL, version TEXT NOT NULL DEFAULT ''
    ) STRICT, WITHOUT ROWID;
";

/// What turns layout 1 into layout 2.
const VERSIONS: &str = "ALTER TABLE parameters ADD COLUMN version TEXT NOT NULL DEFAULT '';";

/// What turns layout 2 into layout 3.
const PLACES: &str = "
    CREATE TABLE places (
        lane TEXT PRIMARY KEY, version INTEGER NOT NULL, format INTEGER NOT NULL, state TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
";

/// Keeps lanes, client-visible items, parameters and what the place remembers in `state.db`; clones share one connection.
///
/// Commits are on disk when they return.
#[derive(Clone)]
pub struct LocalState {
    connection: Arc<Mutex<Connection>>,
}

impl LocalState {
    /// Opens the database in `folder` and makes what is missing: the folder (mode 0700), the file (0600), its tables.
    ///
    /// # Errors
    /// Refuses a database that a newer packhorse has written, and a folder that cannot be written.
    pub fn open(folder: &Path) -> Result<Self, Failure> {
        let path = folder.join("state.db");
        let doing = || format!("open {}", path.display());
        private_folder(folder).map_err(|error| Failure::refused(doing(), error))?;
        // SQLite gives its side files the mode of the main one, so that must be right before anything is written.
        private_file(&path).map_err(|error| Failure::refused(doing(), error))?;
        let connection = prepare(&path).map_err(|error| failure(doing(), error))?;
        let format: i64 =
            connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(|e| failure(doing(), e))?;
        if format > FORMAT {
            let cause = format!("its format {format} is newer than {FORMAT}, which this packhorse reads");
            return Err(Failure::refused(doing(), cause));
        }
        Ok(Self { connection: Arc::new(Mutex::new(connection)) })
    }

    /// Runs `work` on the connection, away from the threads that serve futures.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        doing: String,
        work: impl FnOnce(&mut Connection) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, Failure> {
        let connection = Arc::clone(&self.connection);
        let worked = tokio::task::spawn_blocking(move || {
            // A panic inside a transaction has rolled it back.
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            work(&mut connection)
        });
        match worked.await {
            Ok(result) => result.map_err(|error| failure(doing, error)),
            Err(stopped) => Err(Failure::unavailable(doing, stopped)),
        }
    }
}

fn prepare(path: &Path) -> Result<Connection, rusqlite::Error> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(PATIENCE)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // Two processes may come here at once: one makes the tables, the other then finds them.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let format: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let changes: &[&str] = match format {
        0 => &[TABLES, PLACES],
        1 => &[VERSIONS, PLACES],
        2 => &[PLACES],
        _ => &[],
    };
    for change in changes {
        transaction.execute_batch(change)?;
        transaction.pragma_update(None, "user_version", FORMAT)?;
    }
    transaction.commit()?;
    Ok(connection)
}

/// Makes a folder that only its owner may enter; one that is there is made so.
pub(super) fn private_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    close_to_others(folder, 0o700)
}

fn private_file(path: &Path) -> io::Result<()> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    close_to_others(path, 0o600)
}

fn close_to_others(path: &Path, mode: u32) -> io::Result<()> {
    let others = fs::metadata(path)?.permissions().mode() & 0o077;
    if others == 0 { Ok(()) } else { fs::set_permissions(path, Permissions::from_mode(mode)) }
}

/// Sorts what SQLite says.
fn failure(doing: String, error: rusqlite::Error) -> Failure {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Failure::unavailable(doing, error),
        _ => Failure::refused(doing, error),
    }
}

/// Returns a number as SQLite keeps it.
pub(super) fn number(value: u64) -> Result<i64, Failure> {
    i64::try_from(value).map_err(|error| Failure::refused(format!("store the number {value}"), error))
}

/// Returns a number that [`number`] has stored.
pub(super) fn stored_number(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn only_the_owner_may_read_what_is_kept() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("app/.packhorse");
        let _state = LocalState::open(&folder).unwrap();
        assert_eq!(mode(&folder), 0o700);
        for name in ["state.db", "state.db-wal", "state.db-shm"] {
            assert_eq!(mode(&folder.join(name)), 0o600, "{name}");
        }
    }

    #[test]
    fn a_file_that_was_open_to_all_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        drop(LocalState::open(folder.path()).unwrap());
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn a_newer_layout_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        drop(LocalState::open(folder.path()).unwrap());
        let connection = Connection::open(folder.path().join("state.db")).unwrap();
        connection.pragma_update(None, "user_version", FORMAT + 1).unwrap();
        drop(connection);
        assert!(matches!(LocalState::open(folder.path()), Err(Failure::Refused { .. })));
    }

    #[test]
    fn an_older_layout_is_brought_up_to_date_with_what_it_holds() {
        let folder = tempfile::tempdir().unwrap();
        let connection = Connection::open(folder.path().join("state.db")).unwrap();
        connection
            .execute_batch(
                "CREATE TABLE parameters (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
                 INSERT INTO parameters VALUES ('/apppack/apps/shop/config/A', 'kept');
                 PRAGMA user_version = 1;",
            )
            .unwrap();
        drop(connection);
        let state = LocalState::open(folder.path()).unwrap();
        let connection = state.connection.lock().unwrap();
        let found: (String, String) = connection
            .query_row("SELECT value, version FROM parameters", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap();
        assert_eq!(found, ("kept".to_owned(), String::new()));
    }

    #[test]
    fn what_is_no_database_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let text = "this is not a database, whatever its name says; it is long enough to be looked at".repeat(20);
        fs::write(&path, &text).unwrap();
        assert!(matches!(LocalState::open(folder.path()), Err(Failure::Refused { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}
