//! Where an invocation runs.

use std::sync::atomic::Ordering;
use std::time::Duration;

use engine::Error;
use model::{End, Fault, StartKind};

use crate::clock::settle;
use crate::fake::StartAs;
use crate::world::World;

#[test]
fn one_instance_serves_one_after_the_other() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        let cold = world.invoke("hello", "").await.unwrap();
        assert_eq!(cold.start, StartKind::Plain);
        assert_eq!(cold.timings.init.as_millis(), 5);
        let warm = world.invoke("hello", "").await.unwrap();
        assert_eq!(warm.start, StartKind::Warm);
        assert_eq!(warm.timings.init.as_millis(), 0);
        assert_eq!(
            cold.outcome.payload, warm.outcome.payload,
            "the same instance"
        );
        assert_eq!(world.runtime.orders().len(), 1);
    });
}

#[test]
fn the_most_recently_used_instance_is_used_again() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        let first = world.begin("hello", "hold").await;
        let second = world.begin("hello", "hold").await;
        let calls = world.runtime.held_calls();
        assert_eq!(calls.len(), 2);
        calls[1].0.release(&calls[1].1, End::Replied);
        let last = {
            settle().await;
            calls[0].0.release(&calls[0].1, End::Replied);
            settle().await;
            calls[0].0.order.instance.to_string()
        };
        for _ in 0..3 {
            let execution = world.invoke("hello", "").await.unwrap();
            assert_eq!(execution.outcome.payload, last);
        }
        first.await.unwrap().unwrap();
        second.await.unwrap().unwrap();
        assert_eq!(world.states("hello"), "idle idle");
    });
}

#[test]
fn whichever_comes_first_serves_and_the_other_is_parked() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        let first = world.begin("hello", "hold").await;
        world.runtime.hold_starts(true);
        let second = world.begin("hello", "").await;
        assert_eq!(world.states("hello"), "busy starting");
        world.release_all().await;
        let served = second.await.unwrap().unwrap();
        assert_eq!(
            served.start,
            StartKind::Warm,
            "by the instance that came back"
        );
        first.await.unwrap().unwrap();

        // Nobody waits for the start any more, so the next in need does, and starts no other.
        let busy = world.begin("hello", "hold").await;
        let third = world.begin("hello", "").await;
        assert_eq!(world.runtime.starting(), 1);
        world.release_all().await;
        assert_eq!(third.await.unwrap().unwrap().start, StartKind::Warm);
        busy.await.unwrap().unwrap();
        world.runtime.end_start(StartAs::Ready);
        settle().await;
        assert_eq!(world.states("hello"), "idle idle");
        let parked = world.invoke("hello", "").await.unwrap();
        assert_eq!(parked.start, StartKind::Parked);
        assert_eq!(parked.timings.init.as_millis(), 0);
        assert_eq!(
            world.invoke("hello", "").await.unwrap().start,
            StartKind::Warm
        );
    });
}

#[test]
fn an_instance_that_dies_is_never_used_again() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        world.invoke("hello", "").await.unwrap();
        world.runtime.alive()[0].die();
        // Found dead at the checkout, before anybody told.
        let again = world.invoke("hello", "").await.unwrap();
        assert_eq!(again.start, StartKind::Plain);
        world.runtime.alive()[0].die();
        settle().await;
        assert_eq!(world.states("hello"), "", "removed as it died");
        let crashed = world.invoke("hello", "crash").await.unwrap();
        assert_eq!(crashed.outcome.end, End::Crashed);
        settle().await;
        assert_eq!(world.states("hello"), "");
        assert_eq!(world.engine().stats().memory_mb, 0);
    });
}

#[test]
fn what_goes_on_after_its_answer_keeps_its_place() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        let answered = world.invoke("hello", "linger").await.unwrap();
        assert_eq!(answered.timings.handler.as_millis(), 1);
        assert_eq!(world.states("hello"), "busy");
        let other = world.invoke("hello", "").await.unwrap();
        assert_eq!(other.start, StartKind::Plain);
        assert_eq!(world.states("hello"), "busy idle");
        assert_eq!(world.engine().stats().billed_ms, 1);
        world.release_all().await;
        settle().await;
        assert_eq!(world.states("hello"), "idle idle");
        assert_eq!(world.engine().stats().billed_ms, 7001);
        // Where the instance goes before that, so does its place.
        world.invoke("hello", "linger").await.unwrap();
        world.runtime.held_calls()[0].0.die();
        settle().await;
        assert_eq!(world.states("hello"), "idle");
    });
}

#[test]
fn a_caller_that_goes_away_ends_nothing() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        let running = world.begin("hello", "hold").await;
        running.abort();
        settle().await;
        assert_eq!(world.states("hello"), "busy");
        world.release_all().await;
        assert_eq!(world.states("hello"), "idle");
        assert_eq!(world.runtime.alive()[0].served.load(Ordering::SeqCst), 1);
        assert_eq!(world.engine().stats().in_flight, 0);

        // Nor while it still waits for its instance.
        world.runtime.alive()[0].die();
        world.runtime.hold_starts(true);
        let starting = world.begin("hello", "").await;
        starting.abort();
        settle().await;
        world.runtime.end_start(StartAs::Ready);
        settle().await;
        assert_eq!(world.runtime.alive()[0].served.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn an_instance_with_slots_takes_as_many_requests() {
    let world = World::new();
    world.run(async {
        world.runtime.slots.store(3, Ordering::SeqCst);
        world.function("hello").await;
        let mut running = Vec::new();
        for _ in 0..4 {
            running.push(world.begin("hello", "hold").await);
        }
        assert_eq!(world.runtime.instances().len(), 2);
        world.release_all().await;
        for running in running {
            running.await.unwrap().unwrap();
        }
        assert_eq!(world.states("hello"), "idle idle");
    });
}

#[test]
fn a_failed_initialisation_is_the_outcome_of_who_waited() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        world.runtime.starts_end(StartAs::Failed);
        let failed = world.invoke("hello", "").await.unwrap();
        assert_eq!(failed.outcome.end, End::Failed);
        assert_eq!(&failed.outcome.payload[..], b"init failed");
        world.runtime.starts_end(StartAs::CannotStart);
        let error = world.invoke("hello", "").await.unwrap_err();
        assert!(matches!(error, Error::CannotStart(_)), "{error}");
        assert_eq!(error.fault(), Fault::Ours);
        assert_eq!(world.engine().stats().memory_mb, 0);
        world.runtime.starts_end(StartAs::Ready);
        world.invoke("hello", "").await.unwrap();
    });
}

#[test]
fn a_slow_initialisation_is_tried_again_within_the_functions_timeout() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        world.runtime.hold_starts(true);
        let running = world.begin("hello", "").await;
        world.runtime.end_start(StartAs::TimedOut);
        settle().await;
        let timeouts: Vec<u64> = world
            .runtime
            .orders()
            .iter()
            .map(|order| order.init_timeout.as_secs())
            .collect();
        assert_eq!(timeouts, [10, 3]);
        world.runtime.end_start(StartAs::TimedOut);
        assert_eq!(running.await.unwrap().unwrap().outcome.end, End::TimedOut);

        let running = world.begin("hello", "").await;
        world.runtime.end_start(StartAs::TimedOut);
        settle().await;
        world.runtime.end_start(StartAs::Ready);
        assert_eq!(running.await.unwrap().unwrap().outcome.end, End::Replied);
    });
}

#[test]
fn a_failed_initialisation_is_tried_again_within_the_functions_timeout() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        world.runtime.hold_starts(true);
        let running = world.begin("hello", "hold").await;
        world.runtime.end_start(StartAs::Failed);
        settle().await;
        world.clock.advance(Duration::from_millis(700)).await;
        let init = Duration::from_millis(500);
        world.runtime.end_start(StartAs::ReadyAfter(init));
        settle().await;
        let instance = world.runtime.alive().pop().unwrap();
        assert_eq!(*instance.timeout.lock(), Duration::from_millis(2500));
        world.release_all().await;
        assert_eq!(running.await.unwrap().unwrap().outcome.end, End::Replied);
        let orders = world.runtime.orders();
        let orders = orders
            .iter()
            .map(|order| (order.init_timeout.as_secs(), order.in_invocation));
        assert_eq!(orders.collect::<Vec<_>>(), [(10, false), (3, true)]);
        // The invocation's own time is what the second one took.
        world.function("other").await;
        let running = world.begin("other", "").await;
        world.runtime.end_start(StartAs::Failed);
        settle().await;
        world.runtime.end_start(StartAs::Failed);
        let failed = running.await.unwrap().unwrap();
        assert_eq!(failed.outcome.end, End::Failed);
        assert_eq!(failed.timings.init, Duration::ZERO);
        assert_eq!(world.runtime.orders().len(), 4);
    });
}

#[test]
fn who_comes_late_does_not_pay_for_a_slow_initialisation() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        let first = world.begin("hello", "hold").await;
        world.runtime.hold_starts(true);
        let second = world.begin("hello", "hold").await;
        world.runtime.end_start(StartAs::TimedOut);
        world.clock.advance(Duration::from_secs(2)).await;
        world.release_all().await;
        first.await.unwrap().unwrap();
        let third = world.begin("hello", "").await;
        assert_eq!(world.runtime.starting(), 1, "it waits for the same start");
        world.clock.advance(Duration::from_millis(500)).await;
        let init = Duration::from_millis(2500);
        world.runtime.end_start(StartAs::ReadyAfter(init));
        third.await.unwrap().unwrap();
        let slow = world.runtime.alive().pop().unwrap();
        assert_eq!(*slow.timeout.lock(), Duration::from_millis(2500));
        world.release_all().await;
        second.await.unwrap().unwrap();
    });
}

/// A world with an idle instance of a function whose requests are known to be short, and two more
/// that are at work, from where on others are held.
async fn busy_with_short_requests(
    world: &World,
) -> Vec<tokio::task::JoinHandle<Result<model::Execution, Error>>> {
    world.function("hello").await;
    let mut first = Vec::new();
    for _ in 0..3 {
        first.push(world.begin("hello", "hold").await);
    }
    world.clock.advance(Duration::from_micros(100)).await;
    world.release_all().await;
    for running in first {
        running.await.unwrap().unwrap();
    }
    assert_eq!(world.states("hello"), "idle idle idle");
    let mut busy = Vec::new();
    for _ in 0..2 {
        busy.push(world.begin("hello", "hold").await);
    }
    busy
}

#[test]
fn a_short_request_is_held_for_those_at_work() {
    let world = World::with(1, |config| config.hold_from = 2);
    world.run(async {
        let busy = busy_with_short_requests(&world).await;
        let held = world.begin("hello", "").await;
        assert!(!held.is_finished());
        assert_eq!(
            world.states("hello"),
            "busy busy idle",
            "not yet given away"
        );
        let (instance, id) = world.runtime.held_calls().remove(0);
        instance.release(&id, End::Replied);
        let served = held.await.unwrap().unwrap();
        assert_eq!(
            served.outcome.payload,
            instance.order.instance.to_string(),
            "by the one that came back"
        );
        world.release_all().await;
        for running in busy {
            running.await.unwrap().unwrap();
        }
        assert_eq!(world.states("hello"), "idle idle idle");
    });
}

#[test]
fn a_held_request_gets_an_instance_of_its_own_where_none_comes_back() {
    let world = World::with(1, |config| config.hold_from = 2);
    world.run(async {
        let busy = busy_with_short_requests(&world).await;
        let held = world.begin("hello", "hold").await;
        assert_eq!(world.states("hello"), "busy busy idle");
        world.clock.advance(Duration::from_millis(10)).await;
        assert_eq!(world.states("hello"), "busy busy busy");
        world.release_all().await;
        for running in busy.into_iter().chain([held]) {
            running.await.unwrap().unwrap();
        }
    });
}

#[test]
fn a_held_request_moves_to_the_code_that_replaces_the_old() {
    let world = World::with(1, |config| config.hold_from = 2);
    world.run(async {
        let busy = busy_with_short_requests(&world).await;
        let held = world.begin("hello", "").await;
        world.deploy("hello", world.deployment(2)).await;
        let served = held.await.unwrap().unwrap();
        assert_eq!(
            served.start,
            StartKind::Plain,
            "on an instance of the new code"
        );
        world.release_all().await;
        for running in busy {
            running.await.unwrap().unwrap();
        }
    });
}

#[test]
fn a_long_request_is_not_held() {
    let world = World::with(1, |config| config.hold_from = 1);
    world.run(async {
        world.function("hello").await;
        let first = world.begin("hello", "hold").await;
        world.clock.advance(Duration::from_millis(50)).await;
        world.release_all().await;
        first.await.unwrap().unwrap();
        let busy = world.begin("hello", "hold").await;
        let other = world.begin("hello", "").await;
        assert_eq!(other.await.unwrap().unwrap().start, StartKind::Plain);
        world.release_all().await;
        busy.await.unwrap().unwrap();
    });
}
