//! Refusals: at once, with the limit that has no room, and with nothing left behind.

use std::time::Duration;

use engine::{Error, ThrottleReason};
use model::{Fault, Principal, UrlAuth};

use crate::clock::settle;
use crate::fake::StartAs;
use crate::world::{World, function, owner, reference, request};

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Error>, expected: ThrottleReason) {
    match result {
        Err(Error::Throttled { reason }) => assert_eq!(reason, expected),
        other => panic!("{other:?}"),
    }
}

#[test]
fn beyond_the_accounts_concurrency_nothing_runs_and_nothing_waits() {
    let world = World::with(1, |config| config.account_concurrency = 3);
    world.run(async {
        world.function("hello").await;
        world.function("other").await;
        let mut running = Vec::new();
        for name in ["hello", "other", "hello"] {
            running.push(world.begin(name, "hold").await);
        }
        refused(
            world.invoke("hello", "").await,
            ThrottleReason::AccountConcurrency,
        );
        refused(
            world.invoke("other", "").await,
            ThrottleReason::AccountConcurrency,
        );
        world.release_all().await;
        for running in running {
            running.await.unwrap().unwrap();
        }
        world.invoke("other", "").await.unwrap();
        let stats = world.engine().stats();
        assert!(
            stats
                .throttled
                .contains(&(ThrottleReason::AccountConcurrency, 2))
        );
        assert_eq!(stats.in_flight, 0);
    });
}

#[test]
fn a_reservation_is_kept_for_its_function_and_limits_it() {
    let world = World::with(1, |config| config.account_concurrency = 3);
    world.run(async {
        let reserved = |count| {
            let mut deployment = world.deployment(1);
            deployment.reserved_concurrency = Some(count);
            deployment
        };
        world.deploy("own", reserved(1)).await;
        world.function("other").await;
        let _running = [
            world.begin("other", "hold").await,
            world.begin("other", "hold").await,
        ];
        refused(
            world.invoke("other", "").await,
            ThrottleReason::AccountConcurrency,
        );
        let own = world.begin("own", "hold").await;
        refused(
            world.invoke("own", "").await,
            ThrottleReason::ReservedConcurrency,
        );
        world.release_all().await;
        own.await.unwrap().unwrap();
        let changed = world.deploy("own", reserved(0)).await;
        assert!(changed.changed);
        refused(
            world.invoke("own", "").await,
            ThrottleReason::ReservedConcurrency,
        );
        let too_much = world
            .engine()
            .deploy(&owner(), &function("own"), reserved(4))
            .await;
        assert!(matches!(
            too_much,
            Err(Error::ReservationTooLarge { given: 4, max: 3 })
        ));
    });
}

#[test]
fn where_memory_is_short_the_least_recently_used_idle_instance_goes() {
    let world = World::with(1, |config| config.memory_mb_max = 300);
    world.run(async {
        for name in ["a", "b", "c"] {
            world.function(name).await;
        }
        world.invoke("a", "").await.unwrap();
        world.clock.advance(Duration::from_millis(10)).await;
        world.invoke("b", "").await.unwrap();
        world.clock.advance(Duration::from_millis(10)).await;
        world.invoke("c", "").await.unwrap();
        settle().await;
        assert_eq!(
            [world.states("a"), world.states("b"), world.states("c")],
            ["", "idle", "idle"]
        );
        let _b = world.begin("b", "hold").await;
        let _c = world.begin("c", "hold").await;
        refused(world.invoke("a", "").await, ThrottleReason::NodeMemory);
        world.release_all().await;
        world.invoke("a", "").await.unwrap();
        assert!(world.runtime.memory_mb().1 <= 300);
    });
}

#[test]
fn memory_of_an_instance_that_just_crashed_can_be_had_at_once() {
    let world = World::with(1, |config| config.memory_mb_max = 128);
    world.run(async {
        world.function("hello").await;
        for _ in 0..5 {
            world.invoke("hello", "crash").await.unwrap();
        }
        world.invoke("hello", "").await.unwrap();
    });
}

#[test]
fn a_function_that_never_initialises_is_not_started_again_and_again() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        world.runtime.starts_end(StartAs::Failed);
        for _ in 0..11 {
            world.invoke("hello", "").await.unwrap();
        }
        refused(
            world.invoke("hello", "").await,
            ThrottleReason::FailingStarts,
        );
        world.clock.advance(Duration::from_secs(1)).await;
        world.invoke("hello", "").await.unwrap();
        refused(
            world.invoke("hello", "").await,
            ThrottleReason::FailingStarts,
        );
        world.runtime.starts_end(StartAs::Ready);
        world.clock.advance(Duration::from_secs(1)).await;
        world.invoke("hello", "").await.unwrap();
        world.runtime.alive()[0].die();
        world.invoke("hello", "").await.unwrap();
        // New code is given a new chance.
        world.runtime.starts_end(StartAs::Failed);
        world.deploy("hello", world.deployment(2)).await;
        world.invoke("hello", "").await.unwrap();
    });
}

#[test]
fn payloads_and_callers_are_checked_before_anything_else() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        let mut large = request("hello", "");
        large.payload = vec![b'x'; model::limit::REQUEST_BYTES_MAX + 1].into();
        let error = world.engine().invoke(large.clone()).await.unwrap_err();
        assert!(matches!(error, Error::PayloadTooLarge { .. }));
        large.payload.truncate(model::limit::EVENT_BYTES_MAX + 1);
        let error = world.engine().submit(large).await.unwrap_err();
        assert!(matches!(
            error,
            Error::PayloadTooLarge { max: 1_048_576, .. }
        ));

        let mut foreign = request("hello", "");
        foreign.principal = Principal::Account("123456789012".parse().unwrap());
        let error = world.engine().invoke(foreign.clone()).await.unwrap_err();
        assert!(matches!(error, Error::Denied { .. }));
        foreign.principal = Principal::Public;
        assert!(world.engine().invoke(foreign.clone()).await.is_err());
        foreign.url = Some(UrlAuth::Nobody);
        assert!(world.engine().invoke(foreign).await.is_ok());
        assert!(world.runtime.orders().len() == 1);
    });
}

#[test]
fn a_miss_says_where_the_function_is() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        let mut target = reference("hello");
        target.function.region = "us-east-1".parse().unwrap();
        let error = world.engine().find(&target).unwrap_err();
        assert_eq!(
            error.to_string(),
            "find function hello in us-east-1: it is not deployed there; eu-west-1 has one of \
             that name"
        );
        assert_eq!(error.fault(), Fault::Caller);
        let error = world.invoke("hello:7", "").await.unwrap_err();
        assert!(matches!(error, Error::VersionNotFound { .. }));
        let error = world.invoke("hello:live", "").await.unwrap_err();
        assert!(matches!(error, Error::AliasNotFound { .. }));
    });
}

#[test]
fn a_start_that_nobody_waits_for_keeps_no_memory_from_others() {
    let world = World::with(1, |config| {
        (config.memory_mb_max, config.starts_at_once) = (6 * 128, 1);
    });
    world.run(async {
        world.function("hello").await;
        world.function("other").await;
        world.runtime.hold_starts(true);
        let mut burst = Vec::new();
        for _ in 0..6 {
            burst.push(world.begin("hello", "").await);
        }
        assert_eq!(world.engine().stats().memory_mb, 6 * 128);
        refused(world.invoke("other", "").await, ThrottleReason::NodeMemory);
        world.runtime.end_start(StartAs::Ready);
        for served in burst {
            served.await.unwrap().unwrap();
        }
        settle().await;
        let stats = world.engine().stats();
        assert!(stats.memory_mb <= 2 * 128, "{} MB", stats.memory_mb);
        let mut others = Vec::new();
        for _ in 0..4 {
            others.push(world.begin("other", "").await);
        }
        while world.runtime.starting() > 0 {
            world.runtime.end_start(StartAs::Ready);
            settle().await;
        }
        for served in others {
            served.await.unwrap().unwrap();
        }
    });
}

#[test]
fn functions_take_turns_to_start() {
    let world = World::with(1, |config| config.starts_at_once = 2);
    world.run(async {
        world.function("hello").await;
        world.function("other").await;
        world.runtime.hold_starts(true);
        let mut burst = Vec::new();
        for _ in 0..6 {
            burst.push(world.begin("hello", "hold").await);
        }
        let other = world.begin("other", "").await;
        assert_eq!(world.runtime.starting(), 2, "no more at once");
        for _ in 0..2 {
            world.runtime.end_start(StartAs::Ready);
            settle().await;
        }
        let orders = world.runtime.orders();
        let names: Vec<&str> = orders.iter().map(|it| it.function.name.as_str()).collect();
        assert_eq!(names, ["hello", "hello", "hello", "other"]);
        while world.runtime.starting() > 0 {
            world.runtime.end_start(StartAs::Ready);
            settle().await;
        }
        other.await.unwrap().unwrap();
        assert_eq!(world.runtime.held_calls().len(), 6);
        world.release_all().await;
        for served in burst {
            served.await.unwrap().unwrap();
        }
    });
}

#[test]
fn starts_that_hang_keep_no_other_function_from_starting() {
    let world = World::with(1, |config| config.starts_at_once = 1);
    world.run(async {
        world.function("hello").await;
        world.function("other").await;
        world.runtime.hold_starts(true);
        let hanging = world.begin("hello", "").await;
        world.runtime.hold_starts(false);
        let other = world.begin("other", "").await;
        assert_eq!(world.runtime.orders().len(), 1);
        world.clock.advance(Duration::from_millis(250)).await;
        other.await.unwrap().unwrap();
        assert!(!hanging.is_finished());
        world.runtime.end_start(StartAs::Ready);
        hanging.await.unwrap().unwrap();
    });
}
