//! The end of an engine.

use std::time::Duration;

use engine::Error;
use model::End;

use crate::clock::settle;
use crate::world::{World, owner, request};

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
