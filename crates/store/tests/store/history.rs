//! Random histories on disk and in memory, which must be told apart by nothing.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use store::{Error, Expect, Lease, Memory, Op, Record, Sqlite, Store, SystemClock, Transaction};

/// One step. Messages and revisions are named by what earlier steps answered.
#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<Change>),
    Lease {
        queue: u8,
        advance_ms: u64,
        lease_ms: u64,
        count: usize,
    },
    Reopen,
}

#[derive(Debug, Clone)]
enum Change {
    Put {
        key: u8,
        value: u8,
        expect: Guess,
    },
    Delete {
        key: u8,
        expect: Guess,
    },
    Enqueue {
        queue: u8,
        id: u8,
        in_ms: u64,
    },
    Settle {
        lease: usize,
    },
    Release {
        lease: usize,
        in_ms: u64,
        body: Option<u8>,
    },
    Extend {
        lease: usize,
        in_ms: u64,
    },
}

#[derive(Debug, Clone)]
enum Guess {
    Any,
    Absent,
    Present,
    Revision(usize),
}

fn guess() -> impl Strategy<Value = Guess> {
    prop_oneof![
        4 => Just(Guess::Any),
        1 => Just(Guess::Absent),
        2 => Just(Guess::Present),
        2 => (0..8_usize).prop_map(Guess::Revision),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let (key, queue, lease, in_ms) = (0..4_u8, 0..2_u8, 0..6_usize, 0..40_u64);
    prop_oneof![
        (key.clone(), any::<u8>(), guess()).prop_map(|(key, value, expect)| Change::Put {
            key,
            value,
            expect
        }),
        (key, guess()).prop_map(|(key, expect)| Change::Delete { key, expect }),
        (queue, 0..6_u8, in_ms.clone()).prop_map(|(queue, id, in_ms)| Change::Enqueue {
            queue,
            id,
            in_ms
        }),
        lease.clone().prop_map(|lease| Change::Settle { lease }),
        (lease.clone(), in_ms.clone(), any::<Option<u8>>())
            .prop_map(|(lease, in_ms, body)| Change::Release { lease, in_ms, body }),
        (lease, in_ms).prop_map(|(lease, in_ms)| Change::Extend { lease, in_ms }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => prop::collection::vec(change(), 0..5).prop_map(Step::Commit),
        8 => (0..2_u8, 0..30_u64, 0..50_u64, 0..4_usize).prop_map(
            |(queue, advance_ms, lease_ms, count)| Step::Lease { queue, advance_ms, lease_ms, count }
        ),
        1 => Just(Step::Reopen),
    ]
}

/// What the history so far has answered.
#[derive(Debug, Default)]
struct Known {
    now_ms: u64,
    /// Newest first.
    leases: Vec<(String, Lease)>,
    /// Newest first.
    revisions: Vec<u64>,
}

impl Known {
    fn op(&self, change: &Change) -> Option<Op> {
        let expect = |guess: &Guess| match guess {
            Guess::Any => Expect::Any,
            Guess::Absent => Expect::Absent,
            Guess::Present => Expect::Present,
            Guess::Revision(index) => {
                Expect::Revision(self.revisions.get(*index).copied().unwrap_or(1))
            }
        };
        Some(match change {
            Change::Put {
                key,
                value,
                expect: guess,
            } => Op::Put {
                collection: "c",
                key: format!("k{key}"),
                value: vec![*value; 10].into(),
                expect: expect(guess),
            },
            Change::Delete { key, expect: guess } => Op::Delete {
                collection: "c",
                key: format!("k{key}"),
                expect: expect(guess),
            },
            Change::Enqueue { queue, id, in_ms } => Op::Enqueue {
                queue: format!("q{queue}"),
                id: format!("m{id}"),
                body: vec![*id; 10].into(),
                due_ms: self.now_ms + in_ms,
                enqueued_at_ms: self.now_ms,
            },
            Change::Settle { lease } => {
                let (queue, lease) = self.leases.get(*lease)?;
                Op::Settle {
                    queue: queue.clone(),
                    id: lease.id.clone(),
                    epoch: lease.epoch,
                }
            }
            Change::Release { lease, in_ms, body } => {
                let (queue, lease) = self.leases.get(*lease)?;
                Op::Release {
                    queue: queue.clone(),
                    id: lease.id.clone(),
                    epoch: lease.epoch,
                    due_ms: self.now_ms + in_ms,
                    body: body.map(|body| vec![body; 20].into()),
                }
            }
            Change::Extend { lease, in_ms } => {
                let (queue, lease) = self.leases.get(*lease)?;
                Op::Extend {
                    queue: queue.clone(),
                    id: lease.id.clone(),
                    epoch: lease.epoch,
                    until_ms: self.now_ms + in_ms,
                }
            }
        })
    }
}

fn plain<T>(result: Result<T, Error>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

/// Everything that can be seen of a store.
async fn seen(store: &dyn Store) -> (Vec<Record>, Vec<(u64, Option<u64>)>) {
    let records = store.list("c", "", None, 100).await.unwrap();
    let mut queues = Vec::new();
    let listed = store.queues("q", None, 10).await.unwrap();
    for (queue, depth) in listed {
        assert_eq!(store.depth(&queue).await.unwrap(), depth);
    }
    for queue in ["q0", "q1"] {
        queues.push((
            store.depth(queue).await.unwrap(),
            store.next_due(queue).await.unwrap(),
        ));
    }
    (records, queues)
}

async fn run(steps: &[Step]) {
    let folder = tempfile::tempdir().unwrap();
    let open = || Sqlite::open(folder.path(), Arc::new(SystemClock::new())).unwrap();
    let memory = Memory::new();
    let mut sqlite = Some(open());
    let mut known = Known::default();
    for step in steps {
        match step {
            Step::Commit(changes) => {
                let ops = changes
                    .iter()
                    .filter_map(|change| known.op(change))
                    .collect();
                let transaction = Transaction { ops };
                let here = plain(memory.commit(transaction.clone()).await);
                let there = plain(sqlite.as_ref().unwrap().commit(transaction).await);
                assert_eq!(here, there);
                let revisions = here.unwrap_or_default();
                revisions
                    .into_iter()
                    .filter(|revision| *revision > 0)
                    .for_each(|revision| {
                        known.revisions.insert(0, revision);
                    });
            }
            Step::Lease {
                queue,
                advance_ms,
                lease_ms,
                count,
            } => {
                known.now_ms += advance_ms;
                let (queue, lease) = (format!("q{queue}"), Duration::from_millis(*lease_ms));
                let here = memory
                    .lease(&queue, known.now_ms, lease, *count)
                    .await
                    .unwrap();
                let sqlite = sqlite.as_ref().unwrap();
                let there = sqlite
                    .lease(&queue, known.now_ms, lease, *count)
                    .await
                    .unwrap();
                assert_eq!(here, there);
                here.into_iter()
                    .for_each(|lease| known.leases.insert(0, (queue.clone(), lease)));
            }
            Step::Reopen => {
                drop(sqlite.take());
                sqlite = Some(open());
                memory.take_back_leases();
            }
        }
        assert_eq!(seen(&memory).await, seen(sqlite.as_ref().unwrap()).await);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn disk_and_memory_answer_alike(steps in prop::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(&steps));
    }
}
