//! What every implementation of `Store` must do, run against each of them.

use std::sync::Arc;
use std::time::Duration;

use store::{Error, Expect, Lease, Memory, Op, Record, Sqlite, Store, SystemClock, Transaction};

/// Runs a story against every implementation.
fn check<S: Future<Output = ()>>(story: impl Fn(Arc<dyn Store>) -> S) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(story(Arc::new(Memory::new())));
    let folder = tempfile::tempdir().unwrap();
    let sqlite = Sqlite::open(folder.path(), Arc::new(SystemClock::new())).unwrap();
    runtime.block_on(story(Arc::new(sqlite)));
}

const SECOND: Duration = Duration::from_secs(1);

fn put(key: &str, value: &str, expect: Expect) -> Op {
    let value = value.to_owned().into();
    Op::Put {
        collection: "functions",
        key: key.into(),
        value,
        expect,
    }
}

fn delete(key: &str, expect: Expect) -> Op {
    Op::Delete {
        collection: "functions",
        key: key.into(),
        expect,
    }
}

fn enqueue(id: &str, due_ms: u64) -> Op {
    let body = format!("body of {id}").into();
    Op::Enqueue {
        queue: "q".into(),
        id: id.into(),
        body,
        due_ms,
        enqueued_at_ms: 7,
    }
}

fn settle(lease: &Lease) -> Op {
    Op::Settle {
        queue: "q".into(),
        id: lease.id.clone(),
        epoch: lease.epoch,
    }
}

fn release(lease: &Lease, due_ms: u64, body: Option<&'static str>) -> Op {
    Op::Release {
        queue: "q".into(),
        id: lease.id.clone(),
        epoch: lease.epoch,
        due_ms,
        body: body.map(Into::into),
    }
}

fn extend(lease: &Lease, until_ms: u64) -> Op {
    Op::Extend {
        queue: "q".into(),
        id: lease.id.clone(),
        epoch: lease.epoch,
        until_ms,
    }
}

async fn commit(store: &Arc<dyn Store>, op: Op) -> Result<u64, Error> {
    let revisions = store.commit(Transaction::of(op)).await?;
    assert_eq!(revisions.len(), 1);
    Ok(revisions[0])
}

async fn get(store: &Arc<dyn Store>, key: &str) -> Option<Record> {
    store.get("functions", key).await.unwrap()
}

async fn lease(store: &Arc<dyn Store>, now_ms: u64) -> Vec<Lease> {
    store.lease("q", now_ms, SECOND, 10).await.unwrap()
}

async fn ids(store: &Arc<dyn Store>, now_ms: u64) -> Vec<String> {
    lease(store, now_ms)
        .await
        .into_iter()
        .map(|lease| lease.id)
        .collect()
}

#[track_caller]
fn is_conflict(result: Result<impl std::fmt::Debug, Error>, op: usize, key: &str) {
    match result {
        Err(Error::Conflict {
            op: found,
            key: name,
        }) => assert_eq!((found, &*name), (op, key)),
        other => panic!("{other:?} is no conflict"),
    }
}

#[test]
fn a_record_is_read_as_it_was_written() {
    check(async |store| {
        assert_eq!(get(&store, "a").await, None);
        let revision = commit(&store, put("a", "{}", Expect::Any)).await.unwrap();
        let record = Record {
            key: "a".into(),
            value: "{}".into(),
            revision,
        };
        assert_eq!(get(&store, "a").await, Some(record));
        assert_eq!(store.get("aliases", "a").await.unwrap(), None);
        commit(&store, delete("a", Expect::Any)).await.unwrap();
        assert_eq!(get(&store, "a").await, None);
        assert_eq!(commit(&store, delete("a", Expect::Any)).await.unwrap(), 0);
    });
}

#[test]
fn revisions_grow_and_are_not_used_twice() {
    check(async |store| {
        let first = commit(&store, put("a", "1", Expect::Any)).await.unwrap();
        let second = commit(&store, put("a", "2", Expect::Any)).await.unwrap();
        commit(&store, delete("a", Expect::Any)).await.unwrap();
        let third = commit(&store, put("a", "3", Expect::Any)).await.unwrap();
        assert!(0 < first && first < second && second < third);
    });
}

#[test]
fn expectations_hold_or_nothing_changes() {
    check(async |store| {
        is_conflict(commit(&store, put("a", "1", Expect::Present)).await, 0, "a");
        is_conflict(
            commit(&store, put("a", "1", Expect::Revision(1))).await,
            0,
            "a",
        );
        is_conflict(commit(&store, delete("a", Expect::Present)).await, 0, "a");
        let first = commit(&store, put("a", "1", Expect::Absent)).await.unwrap();
        is_conflict(commit(&store, put("a", "2", Expect::Absent)).await, 0, "a");
        is_conflict(commit(&store, delete("a", Expect::Absent)).await, 0, "a");
        let second = commit(&store, put("a", "2", Expect::Revision(first)))
            .await
            .unwrap();
        is_conflict(
            commit(&store, put("a", "3", Expect::Revision(first))).await,
            0,
            "a",
        );
        is_conflict(
            commit(&store, delete("a", Expect::Revision(u64::MAX))).await,
            0,
            "a",
        );
        assert_eq!(get(&store, "a").await.unwrap().value, "2");
        commit(&store, delete("a", Expect::Revision(second)))
            .await
            .unwrap();
    });
}

#[test]
fn a_transaction_applies_whole_or_not_at_all() {
    check(async |store| {
        commit(&store, enqueue("m", 0)).await.unwrap();
        let [leased] = &lease(&store, 0).await[..] else {
            panic!("one is due")
        };
        let transaction = Transaction::of(put("a", "1", Expect::Absent))
            .and(settle(leased))
            .and(enqueue("n", 0))
            .and(put("b", "1", Expect::Present));
        is_conflict(store.commit(transaction).await, 3, "b");
        assert_eq!(get(&store, "a").await, None);
        assert_eq!(store.depth("q").await.unwrap(), 1);

        let transaction = Transaction::of(put("a", "1", Expect::Absent))
            .and(settle(leased))
            .and(enqueue("n", 5))
            .and(put("a", "2", Expect::Present));
        let revisions = store.commit(transaction).await.unwrap();
        assert_eq!((revisions[1], revisions[2]), (0, 0));
        let record = get(&store, "a").await.unwrap();
        assert_eq!(
            (record.revision, &record.value[..]),
            (revisions[3], &b"2"[..])
        );
        assert_eq!(ids(&store, 5).await, ["n"]);
        assert_eq!(store.commit(Transaction::default()).await.unwrap(), []);
    });
}

#[test]
fn transactions_at_the_same_time_do_not_spoil_each_other() {
    check(async |store| {
        let commits = (0..300).map(|n| {
            let store = Arc::clone(&store);
            // Every third expects what is not so.
            let expect = if n % 3 == 0 {
                Expect::Present
            } else {
                Expect::Absent
            };
            let own = put(&format!("k{n:03}"), "1", expect);
            let transaction = Transaction::of(enqueue(&format!("m{n:03}"), n)).and(own);
            tokio::spawn(async move { store.commit(transaction).await.is_ok() })
        });
        let mut kept = 0;
        for commit in commits.collect::<Vec<_>>() {
            kept += u64::from(commit.await.unwrap());
        }
        assert_eq!(kept, 200);
        assert_eq!(store.depth("q").await.unwrap(), 200);
        assert_eq!(
            store
                .list("functions", "k", None, 1000)
                .await
                .unwrap()
                .len(),
            200
        );
    });
}

#[test]
fn lists_are_in_byte_order_and_go_on_where_they_stopped() {
    check(async |store| {
        for key in [
            "fn/b",
            "fn/a",
            "fn/ä",
            "fn/",
            "fn",
            "fo",
            "fn/a/1",
            "fn/\u{10ffff}",
            "FN/a",
        ] {
            commit(&store, put(key, "1", Expect::Absent)).await.unwrap();
        }
        let keys = async |prefix: &str, after: Option<&str>, limit| {
            let records = store.list("functions", prefix, after, limit).await.unwrap();
            records
                .into_iter()
                .map(|record| record.key)
                .collect::<Vec<_>>()
        };
        let all = ["fn/", "fn/a", "fn/a/1", "fn/b", "fn/ä", "fn/\u{10ffff}"];
        assert_eq!(keys("fn/", None, 100).await, all);
        assert_eq!(keys("fn/", None, 2).await, all[..2]);
        assert_eq!(keys("fn/", Some("fn/a"), 2).await, all[2..4]);
        assert_eq!(keys("fn/", Some("a"), 100).await, all);
        assert_eq!(keys("fn/", Some("fo"), 100).await, [""; 0]);
        assert_eq!(keys("", None, 100).await.len(), 9);
        assert_eq!(keys("", None, 0).await, [""; 0]);
        assert_eq!(keys("x", None, 100).await, [""; 0]);
    });
}

#[test]
fn messages_come_when_due_oldest_due_first() {
    check(async |store| {
        assert_eq!(store.next_due("q").await.unwrap(), None);
        for (id, due_ms) in [("late", 30), ("first", 10), ("second", 10), ("now", 20)] {
            commit(&store, enqueue(id, due_ms)).await.unwrap();
        }
        assert_eq!(store.next_due("q").await.unwrap(), Some(10));
        assert_eq!(ids(&store, 9).await, [""; 0]);
        assert_eq!(ids(&store, 20).await, ["first", "second", "now"]);
        assert_eq!(store.next_due("q").await.unwrap(), Some(30));
        assert_eq!(store.depth("q").await.unwrap(), 4);
        assert_eq!(store.lease("other", 50, SECOND, 10).await.unwrap(), []);
        assert_eq!(store.lease("q", 50, SECOND, 0).await.unwrap(), []);
        let leased = store.lease("q", 50, SECOND, 1).await.unwrap();
        let [late] = &leased[..] else {
            panic!("one is due")
        };
        assert_eq!(
            (&late.body[..], late.attempt, late.enqueued_at_ms),
            (&b"body of late"[..], 1, 7)
        );
    });
}

#[test]
fn queues_are_those_that_hold_something() {
    check(async |store| {
        for (queue, id) in [
            ("e/b", "1"),
            ("e/b", "2"),
            ("e", "1"),
            ("e/a", "1"),
            ("e/ä", "1"),
            ("f", "1"),
        ] {
            let (queue, id, body) = (queue.into(), id.into(), "".into());
            let op = Op::Enqueue {
                queue,
                id,
                body,
                due_ms: 9,
                enqueued_at_ms: 7,
            };
            commit(&store, op).await.unwrap();
        }
        let queues = async |prefix: &str, after: Option<&str>, limit| {
            let queues = store.queues(prefix, after, limit).await.unwrap();
            let texts = queues.iter().map(|(name, depth)| format!("{name} {depth}"));
            texts.collect::<Vec<_>>().join(", ")
        };
        assert_eq!(queues("", None, 100).await, "e 1, e/a 1, e/b 2, e/ä 1, f 1");
        assert_eq!(queues("e/", None, 2).await, "e/a 1, e/b 2");
        assert_eq!(queues("e/", Some("e/b"), 2).await, "e/ä 1");
        assert_eq!(queues("e/", Some("a"), 1).await, "e/a 1");
        assert_eq!(queues("e", Some("f"), 9).await, "");
        assert_eq!(queues("", None, 0).await, "");
        // A leased message is still held, a settled one is not.
        let leased = store.lease("e/a", 9, SECOND, 1).await.unwrap();
        assert_eq!(queues("e/a", None, 9).await, "e/a 1");
        let settle = Op::Settle {
            queue: "e/a".into(),
            id: "1".into(),
            epoch: leased[0].epoch,
        };
        commit(&store, settle).await.unwrap();
        assert_eq!(queues("e", None, 9).await, "e 1, e/b 2, e/ä 1");
    });
}

#[test]
fn a_message_that_the_queue_holds_is_not_added_again() {
    check(async |store| {
        commit(&store, enqueue("m", 10)).await.unwrap();
        commit(&store, enqueue("m", 5)).await.unwrap();
        assert_eq!(store.depth("q").await.unwrap(), 1);
        assert_eq!(store.next_due("q").await.unwrap(), Some(10));
        let [leased] = &lease(&store, 10).await[..] else {
            panic!("one is due")
        };
        commit(&store, settle(leased)).await.unwrap();
        commit(&store, enqueue("m", 10)).await.unwrap();
        let [again] = &lease(&store, 10).await[..] else {
            panic!("one is due")
        };
        assert_eq!(again.attempt, 1);
        // What is known of the first message is not true of the second.
        is_conflict(commit(&store, settle(leased)).await, 0, "m");
    });
}

#[test]
fn a_lease_ends_and_its_epoch_with_the_next() {
    check(async |store| {
        commit(&store, enqueue("m", 0)).await.unwrap();
        let [first] = &lease(&store, 100).await[..] else {
            panic!("one is due")
        };
        assert_eq!(store.next_due("q").await.unwrap(), Some(1100));
        assert_eq!(lease(&store, 1099).await, []);
        let [second] = &lease(&store, 1100).await[..] else {
            panic!("due again")
        };
        assert_eq!((first.attempt, second.attempt), (1, 2));
        is_conflict(commit(&store, settle(first)).await, 0, "m");
        is_conflict(commit(&store, release(first, 0, None)).await, 0, "m");
        is_conflict(commit(&store, extend(first, 0)).await, 0, "m");
        commit(&store, settle(second)).await.unwrap();
        is_conflict(commit(&store, settle(second)).await, 0, "m");
        assert_eq!(
            (
                store.depth("q").await.unwrap(),
                store.next_due("q").await.unwrap()
            ),
            (0, None)
        );
    });
}

#[test]
fn a_lease_that_ran_out_may_still_settle_while_nobody_else_has_it() {
    check(async |store| {
        commit(&store, enqueue("m", 0)).await.unwrap();
        let [leased] = &lease(&store, 0).await[..] else {
            panic!("one is due")
        };
        commit(&store, settle(leased)).await.unwrap();
        assert_eq!(lease(&store, 5000).await, []);
    });
}

#[test]
fn released_messages_wait_and_keep_their_attempts() {
    check(async |store| {
        commit(&store, enqueue("m", 0)).await.unwrap();
        let [first] = &lease(&store, 0).await[..] else {
            panic!("one is due")
        };
        commit(&store, release(first, 500, Some("changed")))
            .await
            .unwrap();
        is_conflict(commit(&store, settle(first)).await, 0, "m");
        assert_eq!(store.next_due("q").await.unwrap(), Some(500));
        assert_eq!(lease(&store, 499).await, []);
        let [second] = &lease(&store, 500).await[..] else {
            panic!("due again")
        };
        assert_eq!((second.attempt, &second.body[..]), (2, &b"changed"[..]));
        commit(&store, release(second, u64::MAX, None))
            .await
            .unwrap();
        assert_eq!(store.next_due("q").await.unwrap(), Some(i64::MAX as u64));
    });
}

#[test]
fn a_lease_can_be_kept_for_longer() {
    check(async |store| {
        commit(&store, enqueue("m", 0)).await.unwrap();
        let [leased] = &lease(&store, 0).await[..] else {
            panic!("one is due")
        };
        commit(&store, extend(leased, 9000)).await.unwrap();
        assert_eq!(lease(&store, 8999).await, []);
        commit(&store, settle(leased)).await.unwrap();
    });
}

#[test]
fn what_is_too_large_is_refused_and_harms_nobody() {
    check(async |store| {
        let large = "x".repeat(65 << 20);
        let refused = commit(&store, put("a", &large, Expect::Any)).await;
        assert!(
            matches!(refused, Err(Error::Unstorable { .. })),
            "{refused:?}"
        );
        commit(&store, put("a", "1", Expect::Absent)).await.unwrap();
    });
}
