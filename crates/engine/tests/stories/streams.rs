//! Answers that are read while they are written.

use std::sync::atomic::Ordering;

use engine::Error;
use engine::stream::{Piece, Streamed};

use crate::clock::settle;
use crate::world::{World, request};

fn begin(world: &World, payload: &'static str) -> Streamed {
    world.engine().stream(request("hello", payload)).unwrap()
}

/// Reads to the end: what came, in words.
async fn read(streamed: &mut Streamed) -> String {
    let mut seen = String::new();
    while let Some(piece) = streamed.next().await {
        seen += &match piece {
            Piece::Begin { content_type } => format!("begin {content_type:?}\n"),
            Piece::Data(bytes) => format!("{} bytes\n", bytes.len()),
            Piece::Whole => "whole\n".to_owned(),
            Piece::End(Ok(execution)) => {
                let outcome = execution.outcome;
                let first = execution.timings.first_byte.is_some();
                let size = outcome.payload.len();
                format!("{}, {size} bytes, timed {first}\n", outcome.end.as_str())
            }
            Piece::End(Err(error)) => format!("{error}\n"),
        };
    }
    seen
}

#[test]
fn an_answer_is_read_in_order_and_its_instance_serves_again() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        for _ in 0..3 {
            let mut streamed = begin(&world, "stream 2 10 reply");
            assert_eq!(
                read(&mut streamed).await,
                "begin Some(\"text/plain\")\n10 bytes\n10 bytes\nreplied, 0 bytes, timed true\n"
            );
        }
        assert_eq!(world.states("hello"), "idle");
        assert_eq!(world.runtime.orders().len(), 1);
    });
}

#[test]
fn an_answer_that_is_not_streamed_is_read_as_if_it_were() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        let size = world
            .invoke("hello", "")
            .await
            .unwrap()
            .outcome
            .payload
            .len();
        assert_eq!(
            read(&mut begin(&world, "")).await,
            format!("begin None\n{size} bytes\nreplied, 0 bytes, timed false\n")
        );
        assert_eq!(
            read(&mut begin(&world, "fail")).await,
            format!("failed, {size} bytes, timed false\n")
        );
    });
}

#[test]
fn who_reads_slowly_slows_the_function_down() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        let mut streamed = begin(&world, "stream 100 10 reply");
        settle().await;
        let taken = || {
            let instances = world.runtime.instances();
            instances[0].taken.load(Ordering::SeqCst)
        };
        let ahead = taken();
        assert!((1..10).contains(&ahead), "{ahead}");
        for _ in 0..10 {
            streamed.next().await.unwrap();
        }
        settle().await;
        assert_eq!(taken(), ahead + 10);
        assert_eq!(world.states("hello"), "busy");
        assert!(
            read(&mut streamed)
                .await
                .ends_with("replied, 0 bytes, timed true\n")
        );
        assert_eq!(taken(), 100);
    });
}

#[test]
fn an_invocation_goes_on_when_its_reader_goes_away() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        let mut streamed = begin(&world, "stream 100 10 hold");
        streamed.next().await.unwrap();
        settle().await;
        drop(streamed);
        settle().await;
        assert_eq!(world.engine().stats().in_flight, 1);
        assert_eq!(world.states("hello"), "busy");
        world.release_all().await;
        assert_eq!(world.states("hello"), "idle");
        let stats = world.engine().stats();
        assert_eq!(stats.in_flight, 0);
        world.invoke("hello", "").await.unwrap();
        assert_eq!(world.runtime.orders().len(), 1, "the same instance");
    });
}

#[test]
fn an_answer_may_be_whole_before_the_function_is_done() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        let mut streamed = begin(&world, "stream 1 10 hold");
        while !matches!(streamed.next().await.unwrap(), Piece::Whole) {}
        assert_eq!(world.states("hello"), "busy");
        world.release_all().await;
        assert_eq!(read(&mut streamed).await, "replied, 0 bytes, timed true\n");
    });
}

#[test]
fn a_function_that_dies_half_way_leaves_half_an_answer() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        let crashed = read(&mut begin(&world, "stream 2 10 crash")).await;
        assert!(
            crashed.contains("10 bytes\n10 bytes\ncrashed, "),
            "{crashed}"
        );
        let failed = read(&mut begin(&world, "stream 1 10 fail")).await;
        assert!(failed.contains("10 bytes\nfailed, "), "{failed}");
        assert_eq!(world.runtime.orders().len(), 2);
        assert_eq!(world.states("hello"), "idle");
        assert_eq!(world.engine().stats().in_flight, 0);
    });
}

#[test]
fn an_answer_has_a_limit() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        let most = read(&mut begin(&world, "stream 4 52428800 reply")).await;
        assert!(most.ends_with("replied, 0 bytes, timed true\n"), "{most}");
        let more = read(&mut begin(&world, "stream 4 52428801 reply")).await;
        assert_eq!(more.matches("52428801 bytes").count(), 3);
        assert!(more.contains("response_too_large"), "{more}");
    });
}

#[test]
fn what_cannot_begin_is_refused_at_once() {
    let world = World::with(1, |config| config.account_concurrency = 1);
    world.run(async {
        world.function("hello").await;
        let _busy = begin(&world, "stream 100 10 reply");
        settle().await;
        let refused = world.engine().stream(request("hello", ""));
        assert!(matches!(refused, Err(Error::Throttled { .. })));
        let missing = world.engine().stream(request("missing", ""));
        assert!(matches!(missing, Err(Error::NotFound { .. })));
        world.runtime.instances()[0].die();
    });
}
