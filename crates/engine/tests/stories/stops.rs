//! The end of an engine.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use engine::Error;
use model::End;

use crate::clock::settle;
use crate::world::{World, function, owner, request};

#[test]
fn a_stop_lets_busy_instances_finish_and_takes_nothing_new() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        let running = world.begin("hello", "hold").await;
        let engine = world.engine().clone();
        let stop = tokio::spawn(async move { engine.stop(Duration::from_secs(5)).await });
        settle().await;
        assert!(matches!(
            world.invoke("hello", "").await,
            Err(Error::Stopping)
        ));
        let submitted = world.engine().submit(request("hello", "")).await;
        assert!(matches!(submitted, Err(Error::Stopping)));
        world.release_all().await;
        assert_eq!(running.await.unwrap().unwrap().outcome.end, End::Replied);
        stop.await.unwrap();
        assert!(world.runtime.alive().is_empty());
        assert_eq!(world.engine().stats().memory_mb, 0);
    });
}

#[test]
fn after_the_grace_everything_is_ended() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        world.invoke("hello", "").await.unwrap();
        let running = world.begin("hello", "hold").await;
        let event = world
            .engine()
            .submit(request("hello", "hold"))
            .await
            .unwrap();
        settle().await;
        let engine = world.engine().clone();
        let stop = tokio::spawn(async move { engine.stop(Duration::from_secs(5)).await });
        world.clock.advance(Duration::from_secs(5)).await;
        assert_eq!(running.await.unwrap().unwrap().outcome.end, End::Crashed);
        stop.await.unwrap();
        assert!(world.runtime.alive().is_empty());
        // The event's attempt was cut off, which is not the function's failure.
        let view = world
            .engine()
            .event(&owner(), &event)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            (view.state, view.reason),
            (engine::verb::EventState::Accepted, None)
        );
    });
}

#[test]
fn idle_instances_go_on_with_the_next_process() {
    let mut world = World::new();
    world.run(async {
        world.function("hello").await;
        world.publish("hello").await;
        world.invoke("hello", "").await.unwrap();
        world.invoke("hello:1", "").await.unwrap();
    });
    world.hand_over();
    assert!(world.runtime.left().is_empty());
    assert_eq!(world.engine().stats().memory_mb, 256);
    world.run(async {
        let execution = world.invoke("hello", "").await.unwrap();
        assert_eq!(execution.start, model::StartKind::Warm);
        world.invoke("hello:1", "").await.unwrap();
        assert_eq!(world.runtime.orders().len(), 2, "nothing was started anew");
        let served = world.runtime.alive();
        let served: Vec<_> = served.iter().map(|it| it.served.load(SeqCst)).collect();
        assert_eq!(served, [2, 2]);
        // They are frozen and stopped as all others.
        world.clock.advance(Duration::from_secs(1)).await;
        assert_eq!(world.states("hello"), "frozen frozen");
        world.clock.advance(Duration::from_secs(600)).await;
        assert!(world.runtime.alive().is_empty());
    });
}

#[test]
fn a_process_that_leaves_lets_busy_instances_finish_first() {
    let mut world = World::new();
    let tokio = world.take_tokio();
    tokio.block_on(async {
        world.function("hello").await;
        let running = world.begin("hello", "hold").await;
        let engine = world.engine().clone();
        let leave = tokio::spawn(async move { engine.leave(Duration::from_secs(5)).await });
        settle().await;
        assert!(world.runtime.left().is_empty());
        world.release_all().await;
        assert_eq!(running.await.unwrap().unwrap().outcome.end, End::Replied);
        leave.await.unwrap();
        assert_eq!(world.runtime.left().len(), 1);
        assert_eq!(world.engine().stats().memory_mb, 0);
    });
    world.put_tokio(tokio);
}

#[test]
fn what_was_removed_or_changed_meanwhile_is_not_taken_up() {
    let mut world = World::new();
    world.run(async {
        for name in ["same", "changed", "removed"] {
            world.function(name).await;
            world.invoke(name, "").await.unwrap();
        }
    });
    world.runtime.hide_left(true);
    world.hand_over();
    world.run(async {
        world.deploy("changed", world.deployment(2)).await;
        let removed = world.engine().remove(&owner(), &function("removed")).await;
        removed.unwrap();
    });
    world.runtime.hide_left(false);
    world.hand_over();
    let alive = world.runtime.alive();
    let names: Vec<_> = alive
        .iter()
        .map(|it| it.order.function.name.as_str())
        .collect();
    assert_eq!(names, ["same"]);
    assert_eq!(world.engine().stats().memory_mb, 128);
}

#[test]
fn only_as_many_are_taken_up_as_there_is_memory_for() {
    let mut world = World::new();
    world.run(async {
        for name in ["a", "b", "c"] {
            world.function(name).await;
            world.invoke(name, "").await.unwrap();
        }
    });
    world.config.memory_mb_max = 256;
    world.hand_over();
    assert_eq!(world.runtime.alive().len(), 2);
    assert_eq!(world.engine().stats().memory_mb, 256);
}

#[test]
fn an_instance_does_not_grow_younger() {
    let mut world = World::new();
    world.run(async {
        world.function("hello").await;
        world.invoke("hello", "").await.unwrap();
    });
    world.runtime.alive()[0].born_ms.store(0, SeqCst);
    world.hand_over();
    world.run(async {
        world.invoke("hello", "").await.unwrap();
        settle().await;
        assert!(
            world.runtime.alive().is_empty(),
            "it was as old as it may be"
        );
    });
}
