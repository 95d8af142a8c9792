//! Instances that nobody uses.

use std::time::Duration;

use crate::clock::settle;
use crate::world::World;

#[test]
fn idle_instances_are_frozen_and_then_dropped() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        world.invoke("hello", "").await.unwrap();
        world.clock.advance(Duration::from_millis(199)).await;
        assert_eq!(world.states("hello"), "idle");
        world.clock.advance(Duration::from_millis(1)).await;
        assert_eq!(world.states("hello"), "frozen");
        assert!(world.runtime.alive()[0].is_frozen());
        // Used again, it is frozen again, and its time begins anew.
        world.clock.advance(Duration::from_secs(200)).await;
        world.invoke("hello", "").await.unwrap();
        assert!(!world.runtime.alive()[0].is_frozen());
        world.clock.advance(Duration::from_millis(200)).await;
        assert_eq!(world.states("hello"), "frozen");
        world.clock.advance(Duration::from_millis(299_799)).await;
        assert_eq!(world.states("hello"), "frozen");
        world.clock.advance(Duration::from_millis(1)).await;
        assert_eq!(world.states("hello"), "");
        assert!(world.runtime.alive().is_empty());
        assert_eq!(world.engine().stats().memory_mb, 0);
    });
}

#[test]
fn a_busy_instance_is_neither_frozen_nor_dropped() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        let running = world.begin("hello", "hold").await;
        world.clock.advance(Duration::from_secs(1000)).await;
        assert_eq!(world.states("hello"), "busy");
        world.release_all().await;
        running.await.unwrap().unwrap();
        world.clock.advance(Duration::from_millis(200)).await;
        assert_eq!(world.states("hello"), "frozen");
    });
}

#[test]
fn a_request_that_arrives_during_a_freeze_is_served() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        world.invoke("hello", "").await.unwrap();
        let instance = world.runtime.alive().remove(0);
        instance.hold_freeze.send_replace(true);
        world.clock.advance(Duration::from_millis(200)).await;
        let running = world.begin("hello", "").await;
        assert_eq!(world.states("hello"), "busy");
        instance.hold_freeze.send_replace(false);
        running.await.unwrap().unwrap();
        settle().await;
        assert!(!instance.is_frozen());
        assert_eq!(world.states("hello"), "idle");
        world.clock.advance(Duration::from_millis(200)).await;
        assert_eq!(world.states("hello"), "frozen");
    });
}

#[test]
fn a_request_whose_instance_dies_before_it_has_it_gets_another() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        world.invoke("hello", "").await.unwrap();
        let instance = world.runtime.alive().remove(0);
        instance.hold_freeze.send_replace(true);
        world.clock.advance(Duration::from_millis(200)).await;
        let running = world.begin("hello", "").await;
        // Replaced as well, so that the other one is of the new code.
        world.deploy("hello", world.deployment(2)).await;
        instance.die();
        instance.hold_freeze.send_replace(false);
        let served = running.await.unwrap().unwrap();
        assert_eq!(served.outcome.end, model::End::Replied);
        let order = world.runtime.orders().pop().unwrap();
        assert_eq!(order.config.code, world.code(2));
    });
}

#[test]
fn an_instance_can_be_replaced_while_it_is_being_frozen() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        world.invoke("hello", "").await.unwrap();
        let instance = world.runtime.alive().remove(0);
        instance.hold_freeze.send_replace(true);
        world.clock.advance(Duration::from_millis(200)).await;
        world.deploy("hello", world.deployment(2)).await;
        settle().await;
        assert_eq!(world.states("hello"), "draining");
        instance.hold_freeze.send_replace(false);
        settle().await;
        assert_eq!(world.states("hello"), "");
        assert!(world.runtime.alive().is_empty());
    });
}

#[test]
fn the_timer_keeps_up_with_many_uses() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        for _ in 0..400 {
            world.invoke("hello", "").await.unwrap();
            world.clock.advance(Duration::from_millis(700)).await;
            assert_eq!(world.states("hello"), "frozen");
        }
        assert_eq!(world.runtime.orders().len(), 1);
        world.clock.advance(Duration::from_secs(300)).await;
        assert_eq!(world.states("hello"), "");
    });
}
