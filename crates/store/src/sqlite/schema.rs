//! The file: how it is opened, which version it has, and how an older one becomes a newer one.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::cause;
use crate::{Error, disk};

/// Each brings the file from the version of its index to the next. Never change one that was
/// released: add another.
const MIGRATIONS: &[&str] = &[include_str!("schema.sql"), include_str!("held.sql")];

/// How long to wait for somebody who looks into the file with a tool of their own.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens the one connection that writes, and brings the file up to date.
pub(super) fn open_writer(path: &Path) -> Result<Connection, Error> {
    create(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let failed = |error| cause::on_open(path, error);
    let mut writer = Connection::open_with_flags(path, flags).map_err(failed)?;
    harden(&writer).map_err(failed)?;
    refuse_newer(path, version(&writer).map_err(failed)?)?;
    let mode = configure(&writer).map_err(failed)?;
    require_log(path, &mode)?;
    migrate(&mut writer).map_err(failed)?;
    // SQLite syncs the name of its log too, but does not tell when that fails.
    path.parent().map_or(Ok(()), disk::sync_folder)?;
    Ok(writer)
}

/// Opens a connection that reads.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let reader = Connection::open_with_flags(path, flags)?;
    harden(&reader)?;
    Ok(reader)
}

/// Makes the file where it is not there, closed to others from its first moment, and its name
/// durable: SQLite gives its companions the same rights.
fn create(path: &Path) -> Result<(), Error> {
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match made {
        Ok(_) => path.parent().map_or(Ok(()), disk::sync_folder),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(disk::failed("make", path, &error)),
    }
}

/// Settings that every connection needs: nothing that the file says is taken on trust.
fn harden(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// Settings of the writer. Only it checkpoints, and never by itself: after a failed sync not
/// one more page may reach the file. Answers the journal mode that the file really has.
fn configure(writer: &Connection) -> rusqlite::Result<String> {
    writer.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    let mode = journal_in_log(writer)?;
    writer.pragma_update(None, "synchronous", "FULL")?;
    writer.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    writer.pragma_update_and_check(None, "journal_size_limit", 64 << 20, |_| Ok(()))?;
    writer.pragma_update(None, "cache_size", -8192)?;
    writer.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(mode)
}

/// Run to its end, because the answer comes before the change is synced and a failure after it.
fn journal_in_log(writer: &Connection) -> rusqlite::Result<String> {
    let mut statement = writer.prepare("PRAGMA journal_mode = WAL")?;
    let mut rows = statement.query([])?;
    let mut mode = String::new();
    while let Some(row) = rows.next()? {
        mode = row.get(0)?;
    }
    Ok(mode)
}

/// SQLite keeps the old mode without a word where the new one cannot be had, such as on a file
/// system whose files cannot be mapped by several at once.
fn require_log(path: &Path, mode: &str) -> Result<(), Error> {
    if mode.eq_ignore_ascii_case("wal") {
        return Ok(());
    }
    let cause = "no write-ahead log can be kept here; use a folder on a local disk".into();
    Err(Error::Broken {
        doing: format!("open {}", path.display()),
        cause,
    })
}

fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn refuse_newer(path: &Path, found: u32) -> Result<(), Error> {
    let known = MIGRATIONS.len() as u32;
    if found > known {
        return Err(Error::Newer {
            path: path.to_owned(),
            found,
            known,
        });
    }
    Ok(())
}

/// Each step and its number in one transaction: a crash leaves the old version or the new one.
fn migrate(writer: &mut Connection) -> rusqlite::Result<()> {
    let found = version(writer)?;
    for (index, step) in MIGRATIONS.iter().enumerate().skip(found as usize) {
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "user_version", index as u32 + 1)?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stored form: what this prints may only grow by a new migration.
    #[test]
    fn the_schema_is_the_one_that_was_released() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        let mut names = connection
            .prepare(
                "SELECT type || ' ' || name FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY 1",
            )
            .unwrap();
        let names: Vec<String> = names
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        expect_test::expect![[r#"
            index messages_due
            index messages_held
            table bodies
            table damaged
            table messages
            table queues
            table records
            table sequence"#]]
        .assert_eq(&names.join("\n"));
        assert_eq!(version(&connection).unwrap(), 2);
    }

    #[test]
    fn a_file_of_the_first_version_becomes_a_newer_one() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(MIGRATIONS[0]).unwrap();
        connection.pragma_update(None, "user_version", 1).unwrap();
        let insert = "INSERT INTO messages VALUES ('q', 'm', 1, 0, 0, 1, 2, 1, 0)";
        connection.execute_batch(insert).unwrap();
        migrate(&mut connection).unwrap();
        let held = "SELECT id FROM messages INDEXED BY messages_held WHERE held = 1";
        let held: String = connection.query_row(held, [], |row| row.get(0)).unwrap();
        assert_eq!((&*held, version(&connection).unwrap()), ("m", 2));
    }
}
