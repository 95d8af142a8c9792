//! Kills a process that commits, again and again: whatever it was told is kept is there.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use store::{Clock, Error, Expect, Op, Sqlite, Store, SystemClock, Transaction, Trees};

/// Tells a child of this very test where to commit.
const FOLDER: &str = "STORE_CRASH_FOLDER";

/// Tells a child where to store trees.
const TREES: &str = "STORE_CRASH_TREES";

const KILLS: u64 = 30;

fn open(folder: &Path) -> Sqlite {
    Sqlite::open(folder, Arc::new(SystemClock::new())).unwrap()
}

/// A message and a record that are there together or not at all.
fn both(id: String) -> Transaction {
    let (body, key) = (id.clone().into(), id.clone());
    Transaction::of(Op::Enqueue {
        queue: "q".into(),
        id,
        body,
        due_ms: 0,
        enqueued_at_ms: 0,
    })
    .and(Op::Put {
        collection: "c",
        key,
        value: "{}".into(),
        expect: Expect::Absent,
    })
}

/// Not a test of its own: what the killed process does. Prints each id once it is acknowledged.
#[test]
fn child() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let store = Arc::new(open(Path::new(&folder)));
    let run = u128::from_le_bytes(SystemClock::new().random_id());
    runtime.block_on(async {
        let workers = (0..8).map(|worker| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for n in 0.. {
                    let id = format!("{run:032x}-{worker}-{n}");
                    store.commit(both(id.clone())).await.unwrap();
                    // One write: a torn line would be no acknowledgement.
                    std::io::stdout()
                        .write_all(format!("\nacked {id}\n").as_bytes())
                        .unwrap();
                }
            })
        });
        for worker in workers.collect::<Vec<_>>() {
            worker.await.unwrap();
        }
    });
}

/// Not a test of its own: what the killed process does. Prints each digest once it is stored.
#[test]
fn child_with_trees() {
    let Ok(folder) = std::env::var(TREES) else {
        return;
    };
    let (trees, source) = (
        Path::new(&folder).join("data"),
        Path::new(&folder).join("source"),
    );
    let trees = Trees::open(&trees).unwrap();
    for n in 0.. {
        let run = SystemClock::new().random_id();
        for file in 0..20 {
            std::fs::create_dir_all(source.join(format!("d{}", file % 3))).unwrap();
            let path = source.join(format!("d{}/f{file}", file % 3));
            std::fs::write(path, format!("{run:?} {n} {file}")).unwrap();
        }
        let tree = trees.put(&source).unwrap();
        std::io::stdout()
            .write_all(format!("\nacked {}\n", tree.digest).as_bytes())
            .unwrap();
    }
}

fn run_and_kill(folder: &Path, after: u64, acked: &mut BTreeSet<String>) {
    run_child_and_kill("crash::child", FOLDER, folder, after, acked);
}

fn run_child_and_kill(
    child: &str,
    variable: &str,
    folder: &Path,
    after: u64,
    acked: &mut BTreeSet<String>,
) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", child, "--nocapture", "--test-threads=1"])
        .env(variable, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut seen = 0;
    for line in lines.map_while(Result::ok) {
        if let Some(id) = line.strip_prefix("acked ") {
            acked.insert(id.to_owned());
            seen += 1;
            if seen == after {
                child.kill().unwrap();
            }
        }
    }
    child.wait().unwrap();
    assert!(seen >= after, "the child ended by itself");
}

#[test]
fn what_was_acknowledged_survives_kills() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let clock = SystemClock::new();
    let mut acked = BTreeSet::new();
    for _ in 0..KILLS {
        let mut random = [0; 1];
        clock.random(&mut random);
        run_and_kill(folder.path(), 1 + u64::from(random[0]) / 4, &mut acked);
    }
    let store = open(folder.path());
    runtime.block_on(async {
        let records = store.list("c", "", None, usize::MAX).await.unwrap();
        let records: BTreeSet<String> = records.into_iter().map(|record| record.key).collect();
        let lost: Vec<_> = acked.difference(&records).collect();
        assert_eq!(lost, Vec::<&String>::new(), "of {}", acked.len());
        let mut messages = BTreeSet::new();
        loop {
            let leased = store
                .lease("q", 0, Duration::from_secs(1), 1000)
                .await
                .unwrap();
            if leased.is_empty() {
                break;
            }
            messages.extend(leased.into_iter().map(|lease| lease.id));
        }
        assert_eq!(
            messages, records,
            "each transaction is there whole or not at all"
        );
        assert_eq!(store.depth("q").await.unwrap(), messages.len() as u64);
    });
}

#[test]
fn a_lease_counts_though_its_holder_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut acked = BTreeSet::new();
    run_and_kill(folder.path(), 1, &mut acked);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let lease = |now_ms| {
        let store = open(folder.path());
        // Dropped without any commit after the lease, which nothing has synced.
        runtime
            .block_on(store.lease("q", now_ms, Duration::from_millis(1), 1))
            .unwrap()
    };
    let (first, second) = (lease(0), lease(100));
    assert_eq!(first[0].attempt, 1);
    assert!(second[0].epoch > first[0].epoch);
    let refused = runtime.block_on(open(folder.path()).commit(Transaction::of(Op::Settle {
        queue: "q".into(),
        id: first[0].id.clone(),
        epoch: 0,
    })));
    assert!(matches!(refused, Err(Error::Conflict { .. })));
}

#[test]
fn trees_are_whole_or_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut acked = BTreeSet::new();
    for after in 1..12 {
        run_child_and_kill(
            "crash::child_with_trees",
            TREES,
            folder.path(),
            after,
            &mut acked,
        );
    }
    let data = folder.path().join("data");
    let trees = Trees::open(&data).unwrap();
    let names = |folder: &str| -> BTreeSet<String> {
        let entries = std::fs::read_dir(data.join(folder)).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    };
    let kept = names("trees");
    assert!(acked.is_subset(&kept));
    for digest in &kept {
        trees.verify(digest).unwrap();
    }
    assert!(names("blobs").iter().all(|shelf| shelf.len() == 2));
}
