//! Accepted events: each comes to one end, whatever happens on the way.

use std::time::Duration;

use engine::verb::EventState;
use engine::{Error, ThrottleReason};
use model::{End, InvocationId};
use store::{Clock, Store};

use crate::clock::settle;
use crate::fake::StartAs;
use crate::world::{World, function, owner, request};

async fn submit(world: &World, payload: &'static str) -> InvocationId {
    let id = world
        .engine()
        .submit(request("hello", payload))
        .await
        .unwrap();
    settle().await;
    id
}

/// The queue of the function's events.
const QUEUE: &str = "events/000000000000/eu-west-1/hello";

/// Events that have no end yet, of all functions.
async fn waiting(world: &World) -> u64 {
    let queues = world.store.queues("events", None, 100).await.unwrap();
    queues.iter().map(|(_, depth)| depth).sum()
}

async fn state(world: &World, id: &InvocationId) -> (EventState, u32) {
    let view = world.engine().event(&owner(), id).await.unwrap().unwrap();
    (view.state, view.attempts)
}

async fn dead_letters(world: &World) -> Vec<String> {
    let letters = world
        .store
        .list("dead_letters", "", None, 100)
        .await
        .unwrap();
    letters
        .into_iter()
        .map(|letter| String::from_utf8_lossy(&letter.value).into_owned())
        .collect()
}

#[test]
fn an_event_is_run_once_and_its_end_can_be_found() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        let id = submit(&world, "{}").await;
        assert_eq!(state(&world, &id).await, (EventState::Succeeded, 1));
        assert_eq!(waiting(&world).await, 0);
        let stats = world.engine().stats();
        assert_eq!((stats.events_accepted, stats.events_succeeded), (1, 1));
        let stranger = model::Principal::Account("123456789012".parse().unwrap());
        assert_eq!(world.engine().event(&stranger, &id).await.unwrap(), None);
        world
            .clock
            .advance(Duration::from_secs(14 * 24 * 60 * 60))
            .await;
        assert_eq!(
            world.engine().event(&owner(), &id).await.unwrap(),
            None,
            "forgotten"
        );
        assert_eq!(world.store.depth("ended_events").await.unwrap(), 0);
    });
}

#[test]
fn a_failing_event_is_tried_after_one_and_two_minutes_and_then_given_up() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        let id = submit(&world, "fail").await;
        assert_eq!(state(&world, &id).await, (EventState::Accepted, 1));
        world.clock.advance(Duration::from_millis(59_998)).await;
        assert_eq!(state(&world, &id).await, (EventState::Accepted, 1));
        world.clock.advance(Duration::from_millis(2)).await;
        assert_eq!(state(&world, &id).await, (EventState::Accepted, 2));
        world.clock.advance(Duration::from_secs(119)).await;
        assert_eq!(state(&world, &id).await, (EventState::Accepted, 2));
        world.clock.advance(Duration::from_secs(1)).await;
        assert_eq!(state(&world, &id).await, (EventState::DeadLettered, 3));
        assert_eq!(waiting(&world).await, 0);
        let letters = dead_letters(&world).await;
        assert!(
            letters.len() == 1 && letters[0].contains(r#""payload":"fail""#),
            "{letters:?}"
        );
        assert_eq!(
            world.runtime.orders().len(),
            1,
            "one instance failed three times"
        );
    });
}

#[test]
fn an_event_is_held_back_while_its_function_has_no_room() {
    let world = World::with(1, |config| config.account_concurrency = 1);
    world.run(async {
        world.function("hello").await;
        let busy = world.begin("hello", "hold").await;
        let id = submit(&world, "fail").await;
        world.clock.advance(Duration::from_secs(3600)).await;
        assert_eq!(state(&world, &id).await, (EventState::Accepted, 0));
        world.release_all().await;
        busy.await.unwrap().unwrap();
        assert_eq!(state(&world, &id).await, (EventState::Accepted, 1));
        world.clock.advance(Duration::from_secs(180)).await;
        assert_eq!(state(&world, &id).await, (EventState::DeadLettered, 3));
        assert_eq!(world.engine().stats().throttled[1].1, 0);
    });
}

#[test]
fn a_refusal_is_no_attempt_of_the_functions() {
    let world = World::with(1, |config| config.memory_mb_max = 128);
    world.run(async {
        world.function("hello").await;
        let busy = world.begin("hello", "hold").await;
        let id = submit(&world, "fail").await;
        for _ in 0..5 {
            world.clock.advance(Duration::from_secs(20)).await;
        }
        let (_, refused) = state(&world, &id).await;
        assert!(refused >= 4, "{refused}");
        world.release_all().await;
        busy.await.unwrap().unwrap();
        world.clock.advance(Duration::from_secs(100)).await;
        assert_eq!(state(&world, &id).await.0, EventState::Accepted);
        world.clock.advance(Duration::from_secs(400)).await;
        let (end, attempts) = state(&world, &id).await;
        assert_eq!((end, attempts), (EventState::DeadLettered, refused + 3));
    });
}

#[test]
fn events_of_a_function_with_a_reservation_run_one_after_the_other() {
    const COUNT: u64 = 20;
    let world = World::new();
    world.run(async {
        let mut deployment = world.deployment(1);
        deployment.reserved_concurrency = Some(1);
        world.deploy("hello", deployment).await;
        let mut ids = Vec::new();
        for _ in 0..COUNT {
            ids.push(submit(&world, "hold").await);
        }
        for ended in 0..COUNT {
            assert_eq!(world.engine().stats().events_succeeded, ended);
            assert_eq!(world.runtime.held_calls().len(), 1);
            world.clock.advance(Duration::from_secs(1)).await;
            world.release_all().await;
        }
        for id in ids {
            assert_eq!(state(&world, &id).await, (EventState::Succeeded, 1));
        }
    });
}

#[test]
fn functions_that_are_held_back_take_turns() {
    let world = World::with(1, |config| config.account_concurrency = 1);
    world.run(async {
        world.function("hello").await;
        world.function("other").await;
        for name in ["hello", "hello", "hello", "other", "other"] {
            let submitted = world.engine().submit(request(name, "hold")).await;
            submitted.unwrap();
            settle().await;
        }
        let mut ran = Vec::new();
        for _ in 0..5 {
            let (instance, _) = world.runtime.held_calls().remove(0);
            ran.push(instance.order.function.name.to_string());
            world.release_all().await;
        }
        assert_eq!(ran, ["hello", "hello", "other", "hello", "other"]);
        assert_eq!(waiting(&world).await, 0);
    });
}

#[test]
fn events_that_are_held_back_run_once_there_is_more_room_for_them() {
    let world = World::new();
    world.run(async {
        let mut deployment = world.deployment(1);
        deployment.reserved_concurrency = Some(0);
        world.deploy("hello", deployment.clone()).await;
        let id = submit(&world, "{}").await;
        assert_eq!(state(&world, &id).await, (EventState::Accepted, 0));
        deployment.reserved_concurrency = None;
        world.deploy("hello", deployment.clone()).await;
        settle().await;
        assert_eq!(state(&world, &id).await, (EventState::Succeeded, 1));
        // Nor do they wait for a function that is no more.
        deployment.reserved_concurrency = Some(0);
        world.deploy("hello", deployment).await;
        let id = submit(&world, "{}").await;
        let removed = world.engine().remove(&owner(), &function("hello")).await;
        removed.unwrap();
        settle().await;
        assert_eq!(state(&world, &id).await.0, EventState::DeadLettered);
    });
}

#[test]
fn what_is_never_run_expires() {
    let world = World::new();
    world.run(async {
        let mut deployment = world.deployment(1);
        deployment.reserved_concurrency = Some(0);
        world.deploy("hello", deployment).await;
        let id = submit(&world, "{}").await;
        world.clock.advance(Duration::from_secs(6 * 60 * 60)).await;
        let view = world.engine().event(&owner(), &id).await.unwrap().unwrap();
        assert_eq!(view.state, EventState::Expired);
        assert_eq!(
            view.reason.unwrap(),
            Error::Throttled {
                reason: ThrottleReason::ReservedConcurrency,
            }
            .to_string()
        );
        assert_eq!(dead_letters(&world).await.len(), 1);
    });
}

#[test]
fn what_grew_too_old_while_nothing_ran_expires_without_running() {
    let mut world = World::new();
    let id = world.run(async {
        world.function("hello").await;
        submit(&world, "fail").await
    });
    world.run(async {
        let engine = world.engine().clone();
        engine.stop(Duration::ZERO).await;
        world.clock.advance(Duration::from_secs(6 * 60 * 60)).await;
    });
    world.crash();
    world.run(async {
        settle().await;
        let view = world.engine().event(&owner(), &id).await.unwrap().unwrap();
        assert_eq!((view.state, view.attempts), (EventState::Expired, 1));
        assert!(view.reason.unwrap().starts_with("failed"), "the last one's");
        assert_eq!(dead_letters(&world).await.len(), 1);
        assert_eq!(world.runtime.orders().len(), 1);
    });
}

#[test]
fn an_accepted_event_outlives_the_process() {
    let mut world = World::new();
    let id = world.run(async {
        world.function("hello").await;
        let id = submit(&world, "hold").await;
        assert_eq!(world.runtime.held_calls().len(), 1);
        id
    });
    world.crash();
    world.run(async {
        assert_eq!(state(&world, &id).await, (EventState::Accepted, 0));
        world
            .wait_for(|| world.runtime.held_calls().len() == 1)
            .await;
        let (instance, call) = world.runtime.held_calls().remove(0);
        assert_eq!(call, id.to_string(), "under the same id");
        instance.release(&call, End::Replied);
        settle().await;
        assert_eq!(state(&world, &id).await, (EventState::Succeeded, 2));
    });
}

#[test]
fn an_event_is_delivered_though_its_sender_went_away() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        let mut request = request("hello", "{}");
        let id = InvocationId::from_random([7; 16]);
        request.id = Some(id.clone());
        world.store.hold_answers(true);
        let engine = world.engine().clone();
        let sender = tokio::spawn(async move { engine.submit(request).await });
        world.wait_for(|| world.store.held() == 1).await;
        sender.abort();
        settle().await;
        world.store.hold_answers(false);
        settle().await;
        assert_eq!(state(&world, &id).await, (EventState::Succeeded, 1));
        assert_eq!(world.engine().stats().events_accepted, 1);
    });
}

#[test]
fn an_event_that_kills_the_platform_does_not_kill_it_for_ever() {
    let mut world = World::new();
    let id = world.run(async {
        world.function("hello").await;
        submit(&world, "hold").await
    });
    for _ in 0..3 {
        world.crash();
        world.run(async {
            world
                .wait_for(|| world.runtime.held_calls().len() == 1)
                .await;
        });
    }
    world.crash();
    world.run(async {
        settle().await;
        let view = world.engine().event(&owner(), &id).await.unwrap().unwrap();
        assert_eq!(view.state, EventState::DeadLettered);
        assert!(view.reason.unwrap().contains("the platform ended"));
    });
}

#[test]
fn a_long_delivery_keeps_its_event() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        let id = submit(&world, "hold").await;
        world.clock.advance(Duration::from_secs(600)).await;
        assert_eq!(
            world.runtime.held_calls().len(),
            1,
            "nobody else took it over"
        );
        world.release_all().await;
        assert_eq!(state(&world, &id).await, (EventState::Succeeded, 1));
    });
}

#[test]
fn an_event_that_runs_here_is_not_begun_again_when_the_clock_is_set() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        let id = submit(&world, "hold").await;
        world.clock.set_ahead(Duration::from_secs(600));
        let other = submit(&world, "{}").await;
        assert_eq!(state(&world, &other).await, (EventState::Succeeded, 1));
        assert_eq!(world.runtime.held_calls().len(), 1, "leased anew, run once");
        world.clock.advance(Duration::from_secs(60)).await;
        world.release_all().await;
        assert_eq!(state(&world, &id).await, (EventState::Succeeded, 2));
        world.clock.advance(Duration::from_secs(60)).await;
        assert_eq!(world.engine().stats().events_succeeded, 2);
        assert_eq!(world.runtime.held_calls().len(), 0);
    });
}

#[test]
fn a_slow_store_holds_up_no_event_that_has_ended() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        let id = submit(&world, "hold").await;
        world.store.hold_answers(true);
        world.clock.advance(Duration::from_secs(10)).await;
        assert_eq!(world.store.held(), 1, "the lease is being kept");
        world.release_all().await;
        assert_eq!(world.store.held(), 2, "the end is being written");
        world.store.hold_answers(false);
        settle().await;
        assert_eq!(state(&world, &id).await, (EventState::Succeeded, 1));
    });
}

#[test]
fn the_end_of_an_event_is_written_down_once_there_is_room() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        let id = submit(&world, "hold").await;
        world.store.refuse(100);
        world.release_all().await;
        world.clock.advance(Duration::from_secs(60)).await;
        assert_eq!(state(&world, &id).await, (EventState::Accepted, 0));
        world.store.refuse(0);
        world.clock.advance(Duration::from_secs(60)).await;
        let (end, _) = state(&world, &id).await;
        assert_eq!(end, EventState::Succeeded);
        assert_eq!(world.runtime.held_calls().len(), 0, "and not run again");
        assert_eq!(waiting(&world).await, 0);
    });
}

#[test]
fn what_cannot_be_read_comes_to_an_end_with_a_reason() {
    let world = World::with(1, |config| config.account_concurrency = 1);
    world.run(async {
        world.function("hello").await;
        let busy = world.begin("hello", "hold").await;
        let (damaged, whole) = (submit(&world, "{}").await, submit(&world, "{}").await);
        world.store.damage(QUEUE, damaged.as_str());
        world.store.forget("invocations", whole.as_str()).await;
        let body = bytes::Bytes::from_static(b"no event at all");
        let stray = store::Op::Enqueue {
            queue: QUEUE.into(),
            id: "stray".into(),
            body,
            due_ms: 0,
            enqueued_at_ms: 0,
        };
        let stray = store::Transaction::of(stray);
        world.store.commit(stray).await.unwrap();
        world.release_all().await;
        busy.await.unwrap().unwrap();
        world.clock.advance(Duration::from_secs(2)).await;

        for id in [&damaged, &whole] {
            let view = world.engine().event(&owner(), id).await.unwrap().unwrap();
            assert_eq!(view.state, EventState::DeadLettered);
        }
        let view = world.engine().event(&owner(), &damaged).await.unwrap();
        assert!(view.unwrap().reason.unwrap().contains("a bit is wrong"));
        let view = world.engine().event(&owner(), &whole).await.unwrap();
        assert!(view.unwrap().reason.unwrap().contains("no record"));
        let letters = dead_letters(&world).await;
        assert_eq!(letters.len(), 3);
        assert!(letters[2].contains("no event at all"), "{letters:?}");
        assert_eq!(waiting(&world).await, 0);
        assert_eq!(world.engine().stats().events_dead, 3);
        world
            .clock
            .advance(Duration::from_secs(15 * 24 * 60 * 60))
            .await;
        assert!(dead_letters(&world).await.is_empty(), "forgotten");
    });
}

#[test]
fn the_oldest_ends_are_forgotten_where_there_are_too_many() {
    const MANY: u64 = 250_000;
    let mut world = World::new();
    let first = world.run(async {
        world.function("hello").await;
        world.invoke("hello", "").await.unwrap();
        let first = submit(&world, "{}").await;
        let later_ms = world.clock.now_ms() + 14 * 24 * 60 * 60 * 1000 + 1;
        let ended = |id: u64| store::Op::Enqueue {
            queue: "ended_events".into(),
            id: id.to_string(),
            body: bytes::Bytes::new(),
            due_ms: later_ms,
            enqueued_at_ms: 0,
        };
        for from in (0..MANY).step_by(10_000) {
            let ops = (from..from + 10_000).map(ended).collect();
            world
                .store
                .commit(store::Transaction { ops })
                .await
                .unwrap();
        }
        assert_eq!(state(&world, &first).await.0, EventState::Succeeded);
        first
    });
    world.crash();
    world.run(async {
        settle().await;
        assert_eq!(world.engine().event(&owner(), &first).await.unwrap(), None);
        world.invoke("hello", "").await.unwrap();
        world.clock.advance(Duration::from_secs(1)).await;
        for _ in 0..101 {
            let last = submit(&world, "{}").await;
            assert_eq!(state(&world, &last).await.0, EventState::Succeeded);
        }
        assert_eq!(world.store.depth("ended_events").await.unwrap(), MANY);
    });
}

#[test]
fn events_of_a_removed_function_become_dead_letters() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        let id = submit(&world, "fail").await;
        world
            .engine()
            .remove(&owner(), &function("hello"))
            .await
            .unwrap();
        world.clock.advance(Duration::from_secs(60)).await;
        assert_eq!(state(&world, &id).await, (EventState::DeadLettered, 2));
        let refused = world.engine().submit(request("hello", "")).await;
        assert!(matches!(refused, Err(Error::NotFound { .. })));
    });
}

#[test]
fn a_fault_of_the_platform_is_tried_again_soon_and_does_not_count() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        world.runtime.starts_end(StartAs::CannotStart);
        let id = submit(&world, "{}").await;
        world.runtime.starts_end(StartAs::Ready);
        world.clock.advance(Duration::from_secs(1)).await;
        assert_eq!(state(&world, &id).await, (EventState::Succeeded, 2));
    });
}

#[test]
fn an_id_that_a_door_uses_twice_is_one_event() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        let mut request = request("hello", "{}");
        request.id = Some(InvocationId::from_random([7; 16]));
        let first = world.engine().submit(request.clone()).await.unwrap();
        settle().await;
        assert_eq!(world.engine().submit(request).await.unwrap(), first);
        settle().await;
        assert_eq!(world.engine().stats().events_succeeded, 1);
    });
}

#[test]
fn a_function_with_many_events_holds_up_no_other() {
    let world = World::with(1, |config| {
        (config.account_concurrency, config.memory_mb_max) = (1000, 1 << 20);
    });
    world.run(async {
        world.function("hello").await;
        world.function("other").await;
        world.function("third").await;
        for _ in 0..140 {
            submit(&world, "hold").await;
        }
        assert_eq!(world.runtime.held_calls().len(), 64, "half of the places");
        for name in ["other", "third"] {
            let id = world.engine().submit(request(name, "{}")).await.unwrap();
            settle().await;
            assert_eq!(state(&world, &id).await, (EventState::Succeeded, 1));
        }
        while waiting(&world).await > 0 {
            world.release_all().await;
        }
        assert_eq!(world.engine().stats().events_succeeded, 142);
    });
}

#[test]
fn events_in_the_queue_of_an_earlier_program_are_delivered() {
    let mut world = World::new();
    let id = world.run(async {
        world.function("hello").await;
        world.runtime.starts_end(StartAs::CannotStart);
        let id = submit(&world, "{}").await;
        world.runtime.starts_end(StartAs::Ready);
        world.store.move_message(QUEUE, "events", id.as_str()).await;
        id
    });
    world.crash();
    world.run(async {
        let ended = || world.engine().stats().events_succeeded == 1;
        world.wait_for(ended).await;
        assert_eq!(state(&world, &id).await.0, EventState::Succeeded);
        assert_eq!(waiting(&world).await, 0);
    });
}
