//! The file: who may open it, and what happens when it is not what was written.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use store::{Error, Expect, Op, Sqlite, Store, SystemClock, Transaction};

fn open(folder: &Path) -> Result<Sqlite, Error> {
    Sqlite::open(folder, Arc::new(SystemClock::new()))
}

fn put(key: &str) -> Transaction {
    let (key, value) = (key.to_owned(), "{\"memory\":128}".into());
    Transaction::of(Op::Put {
        collection: "c",
        key,
        value,
        expect: Expect::Any,
    })
}

fn enqueue(id: &str) -> Transaction {
    let (queue, body) = ("q".to_owned(), "payload".into());
    Transaction::of(Op::Enqueue {
        queue,
        id: id.into(),
        body,
        due_ms: 0,
        enqueued_at_ms: 0,
    })
}

/// Changes the file behind the store's back.
fn tamper(folder: &Path, sql: &str) {
    Connection::open(folder.join("store.db"))
        .unwrap()
        .execute_batch(sql)
        .unwrap();
}

#[tokio::test]
async fn only_one_may_have_it_open() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path()).unwrap();
    assert!(matches!(open(folder.path()), Err(Error::InUse { .. })));
    drop(first);
    open(folder.path()).unwrap();
}

#[tokio::test]
async fn a_newer_file_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()).unwrap());
    tamper(folder.path(), "PRAGMA user_version = 999");
    let before = std::fs::read(folder.path().join("store.db")).unwrap();
    let refused = open(folder.path());
    assert!(
        matches!(
            refused,
            Err(Error::Newer {
                found: 999,
                known: 2,
                ..
            })
        ),
        "{refused:?}"
    );
    assert_eq!(
        std::fs::read(folder.path().join("store.db")).unwrap(),
        before
    );
}

#[tokio::test]
async fn a_file_that_is_no_database_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("store.db"),
        "not a database".repeat(1000),
    )
    .unwrap();
    assert!(matches!(open(folder.path()), Err(Error::Damaged { .. })));
}

#[tokio::test]
async fn a_clean_close_leaves_all_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    store.commit(put("a")).await.unwrap();
    store.get("c", "a").await.unwrap().unwrap();
    drop(store);
    let log = std::fs::metadata(folder.path().join("store.db-wal")).map_or(0, |log| log.len());
    assert_eq!(log, 0);
    assert!(
        open(folder.path())
            .unwrap()
            .get("c", "a")
            .await
            .unwrap()
            .is_some()
    );
}

#[tokio::test]
async fn the_log_is_written_back_as_it_grows() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    for n in 0..60_u32 {
        let (key, value) = (format!("k{n}"), vec![b'x'; 1 << 20].into());
        let op = Op::Put {
            collection: "c",
            key,
            value,
            expect: Expect::Any,
        };
        store.commit(Transaction::of(op)).await.unwrap();
    }
    let log = std::fs::metadata(folder.path().join("store.db-wal"))
        .unwrap()
        .len();
    assert!(log < 48 << 20, "{log} bytes");
}

#[tokio::test]
async fn a_damaged_record_is_not_served() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    for key in ["a", "b"] {
        store.commit(put(key)).await.unwrap();
    }
    drop(store);
    tamper(
        folder.path(),
        "UPDATE records SET value = CAST('{}' AS BLOB) WHERE key = 'a'",
    );
    let store = open(folder.path()).unwrap();
    let damaged = store.get("c", "a").await;
    match damaged {
        Err(Error::Damaged { what, .. }) => assert_eq!(what, "record 'a' of c"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        store.list("c", "", None, 10).await,
        Err(Error::Damaged { .. })
    ));
    assert!(store.get("c", "b").await.unwrap().is_some());
    store.commit(put("a")).await.unwrap();
    assert!(store.get("c", "a").await.unwrap().is_some());
}

#[tokio::test]
async fn damaged_messages_are_lent_as_such_and_set_apart() {
    for harm in [
        "UPDATE bodies SET body = CAST('another' AS BLOB) WHERE sequence = 1",
        "DELETE FROM bodies WHERE sequence = 1",
        "UPDATE messages SET attempt = 5 WHERE id = 'a'",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).unwrap();
        for id in ["a", "b"] {
            store.commit(enqueue(id)).await.unwrap();
        }
        drop(store);
        tamper(folder.path(), harm);
        let store = open(folder.path()).unwrap();
        // Those who die before they settle it find it as damaged again.
        for now_ms in [0, 2000, 4000] {
            let leased = store
                .lease("q", now_ms, Duration::from_secs(1), 10)
                .await
                .unwrap();
            let [a, b] = &leased[..] else {
                panic!("{harm}: {leased:?}")
            };
            assert_eq!((&*a.id, &a.body[..]), ("a", &b""[..]), "{harm}");
            assert!(a.damage.as_ref().unwrap().contains("checksum"), "{harm}");
            assert_eq!((&*b.id, &b.body[..]), ("b", &b"payload"[..]), "{harm}");
            assert_eq!(b.damage, None, "{harm}");
            if now_ms == 4000 {
                let settle = Op::Settle {
                    queue: "q".into(),
                    id: "a".into(),
                    epoch: a.epoch,
                };
                store.commit(Transaction::of(settle)).await.unwrap();
            }
        }
        assert_eq!(store.depth("q").await.unwrap(), 1, "{harm}");
        drop(store);
        let file = Connection::open(folder.path().join("store.db")).unwrap();
        let kept: String = file
            .query_row("SELECT id FROM damaged", [], |row| row.get(0))
            .unwrap();
        assert_eq!(kept, "a", "{harm}");
        let bodies: u32 = file
            .query_row("SELECT count(*) FROM bodies", [], |row| row.get(0))
            .unwrap();
        let gone = harm.starts_with("DELETE");
        assert_eq!(bodies, if gone { 1 } else { 2 }, "{harm}");
    }
}

#[tokio::test]
async fn what_a_process_that_is_gone_had_leased_is_due_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    for id in ["a", "b", "c"] {
        store.commit(enqueue(id)).await.unwrap();
    }
    let (lease, second) = (Duration::from_secs(30), Duration::from_secs(1));
    let first = store.lease("q", 10, lease, 2).await.unwrap();
    drop(store);
    tamper(
        folder.path(),
        "UPDATE messages SET attempt = 5 WHERE id = 'b'",
    );
    let store = open(folder.path()).unwrap();
    let settle = Op::Settle {
        queue: "q".into(),
        id: "a".into(),
        epoch: first[0].epoch,
    };
    let late = store.commit(Transaction::of(settle)).await;
    assert!(matches!(late, Err(Error::Conflict { .. })), "{late:?}");
    let again = store.lease("q", 11, second, 10).await.unwrap();
    let again: Vec<_> = again.iter().map(|it| (&*it.id, it.attempt)).collect();
    assert_eq!(again, [("a", 2), ("c", 1)]);
    // What is damaged is lent as such when its lease has run out.
    let late = store.lease("q", 30_010, second, 10).await.unwrap();
    assert!(late.iter().any(|it| it.id == "b" && it.damage.is_some()));
}

#[tokio::test]
async fn after_a_failed_write_nothing_is_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    store.commit(put("a")).await.unwrap();
    drop(store);
    tamper(folder.path(), "DROP TABLE bodies");
    let store = open(folder.path()).unwrap();
    let broken = store.broken();
    let failed = store.commit(enqueue("m")).await;
    assert!(matches!(failed, Err(Error::Broken { .. })), "{failed:?}");
    assert!(matches!(broken.await, Error::Broken { .. }));
    assert!(matches!(store.broken().await, Error::Broken { .. }));
    assert!(matches!(
        store.commit(put("b")).await,
        Err(Error::Broken { .. })
    ));
    let leased = store.lease("q", 0, Duration::from_secs(1), 1).await;
    assert!(matches!(leased, Err(Error::Broken { .. })));
    assert!(store.get("c", "a").await.unwrap().is_some());
    drop(store);
    assert!(
        open(folder.path())
            .unwrap()
            .get("c", "b")
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn others_cannot_look_into_the_folder() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("deep/data");
    let store = open(&data).unwrap();
    store.commit(put("a")).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    for name in ["store.db", "store.db-wal", "store.db-shm"] {
        assert_eq!(mode(&data.join(name)), 0o600, "{name}");
    }
}

#[tokio::test]
async fn no_flipped_bit_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    for n in 0..40 {
        store.commit(put(&format!("k{n:02}"))).await.unwrap();
        store.commit(enqueue(&format!("m{n:02}"))).await.unwrap();
    }
    drop(store);
    let whole = std::fs::read(folder.path().join("store.db")).unwrap();
    let steps = whole.len() / 150;
    for at in (0..whole.len()).step_by(steps) {
        let folder = tempfile::tempdir().unwrap();
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        std::fs::write(folder.path().join("store.db"), flipped).unwrap();
        let Ok(store) = open(folder.path()) else {
            continue;
        };
        for n in 0..40 {
            let read = store.get("c", &format!("k{n:02}")).await;
            if let Ok(Some(record)) = read {
                assert_eq!(record.value, "{\"memory\":128}", "flipped at {at}");
            }
        }
        let leased = store.lease("q", 0, Duration::from_secs(1), 100).await;
        let leased = leased.unwrap_or_default().into_iter();
        for lease in leased.filter(|lease| lease.damage.is_none()) {
            assert_eq!(
                (&lease.body[..], lease.attempt),
                (&b"payload"[..], 1),
                "flipped at {at}"
            );
        }
    }
}
