//! What deployments change, and what they leave alone.

use std::sync::Arc;
use std::time::Duration;

use engine::port::{LogEvent, LogSink};
use engine::verb::{AliasChange, Expected, Statement, UrlSettings};
use engine::{Engine, Error};
use model::{AliasName, Fault, UrlAuth, VersionId};

use crate::clock::settle;
use crate::fake::StartAs;
use crate::world::{World, function, owner, reference, request};

fn live() -> AliasName {
    "live".parse().unwrap()
}

#[test]
fn an_unchanged_deployment_changes_nothing() {
    let world = World::new();
    world.run(async {
        let mut seen = world.engine().watch();
        let first = world.deploy("hello", world.deployment(1)).await;
        assert!(first.changed && seen.has_changed().unwrap());
        seen.mark_unchanged();
        world.invoke("hello", "").await.unwrap();
        let again = world.deploy("hello", world.deployment(1)).await;
        assert!(!again.changed && !seen.has_changed().unwrap());
        assert_eq!(again.url, first.url);
        assert_eq!(world.states("hello"), "idle", "its instance is kept");
    });
}

#[test]
fn busy_instances_finish_on_the_old_code() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        let old = world.begin("hello", "hold").await;
        let other = world.begin("hello", "hold").await;
        let (instance, id) = world.runtime.held_calls().remove(0);
        instance.release(&id, model::End::Replied);
        settle().await;
        assert_eq!(world.states("hello"), "busy idle");
        world.deploy("hello", world.deployment(2)).await;
        settle().await;
        assert_eq!(world.states("hello"), "draining");
        let new = world.invoke("hello", "").await.unwrap();
        let order = world.runtime.orders().pop().unwrap();
        assert_eq!(order.instance.as_str().as_bytes(), &new.outcome.payload[..]);
        assert_eq!(order.config.code, world.code(2));
        world.release_all().await;
        assert!(old.await.unwrap().is_ok() && other.await.unwrap().is_ok());
        assert_eq!(world.states("hello"), "idle");
        assert_eq!(world.runtime.alive().len(), 1);
    });
}

#[test]
fn a_change_is_finished_whoever_waits_for_it() {
    let world = World::new();
    world.run(async {
        let hello = function("hello");
        world.function("hello").await;
        world.invoke("hello", "").await.unwrap();
        world.store.hold_answers(true);
        let engine = world.engine().clone();
        let (id, second) = (hello.clone(), world.deployment(2));
        let caller = tokio::spawn(async move { engine.deploy(&owner(), &id, second).await });
        world.wait_for(|| world.store.held() == 1).await;
        caller.abort();
        settle().await;
        world.store.hold_answers(false);
        settle().await;
        let found = world.engine().find(&reference("hello")).unwrap();
        assert_eq!(found.config.code, world.code(2));
        assert_eq!(world.states("hello"), "", "the old code's instance is gone");
        world.deploy("hello", world.deployment(3)).await;

        world.invoke("hello", "").await.unwrap();
        world.store.hold_answers(true);
        let engine = world.engine().clone();
        let caller = tokio::spawn(async move { engine.remove(&owner(), &hello).await });
        world.wait_for(|| world.store.held() == 1).await;
        caller.abort();
        settle().await;
        world.store.hold_answers(false);
        settle().await;
        assert!(matches!(
            world.invoke("hello", "").await,
            Err(Error::NotFound { .. })
        ));
        assert_eq!(world.states("hello"), "");
        world.function("hello").await;
    });
}

#[test]
fn code_is_kept_for_as_long_as_somebody_needs_it() {
    let mut world = World::new();
    world.run(async {
        world.function("hello").await;
        let busy = world.begin("hello", "hold").await;
        let mut published = world.deployment(2);
        published.publish = true;
        world.deploy("hello", published).await;
        for number in 3..=200 {
            let mut layered = world.deployment(number);
            layered.config.layers = vec![world.code(1000 + number)];
            world.deploy("hello", layered).await;
        }
        // The last one's two, the published one's, and that of the instance on its way out.
        swept(&world, || world.trees_kept() == 4).await;
        assert!(world.trees.contains(world.code(2).digest.as_str()));
        world.invoke("hello", "").await.unwrap();
        world.invoke("hello:1", "").await.unwrap();

        world.release_all().await;
        assert!(busy.await.unwrap().is_ok());
        swept(&world, || world.trees_kept() == 3).await;
        world
            .engine()
            .remove(&owner(), &function("hello"))
            .await
            .unwrap();
    });
    world.crash();
    world.run(async {
        swept(&world, || world.trees_kept() == 0).await;
        let mut gone = world.deployment(1);
        gone.config.code.digest = model::Digest::from_bytes([7; 32]);
        let refused = world.try_deploy("hello", gone).await;
        assert!(matches!(refused, Err(Error::CodeMissing { .. })));
    });
}

#[test]
fn the_log_of_a_function_goes_with_its_last_instance() {
    let mut world = World::new();
    let (log, other) = world.run(async {
        world.function("hello").await;
        world.function("other").await;
        let busy = world.begin("hello", "hold").await;
        world.invoke("other", "").await.unwrap();
        let orders = world.runtime.orders();
        let logs = [&orders[0].log, &orders[1].log].map(std::sync::Arc::clone);
        let hello = function("hello");
        world.engine().remove(&owner(), &hello).await.unwrap();
        say(&*logs[0], "goodbye");
        say(&*logs[1], "hello");
        world.clock.advance(Duration::from_secs(60)).await;
        assert_eq!(log_of(&world, "hello").await, ["goodbye"]);

        world.release_all().await;
        assert!(busy.await.unwrap().is_ok());
        while !log_of(&world, "hello").await.is_empty() {
            world.clock.advance(Duration::from_secs(60)).await;
        }
        say(&*logs[0], "too late");
        assert!(log_of(&world, "hello").await.is_empty());
        world.function("hello").await;
        world.invoke("hello", "").await.unwrap();
        let anew = world.runtime.orders().pop().unwrap().log;
        say(&*anew, "again");
        assert_eq!(log_of(&world, "hello").await, ["again"]);
        assert_eq!(log_of(&world, "other").await, ["hello"]);
        world.engine().remove(&owner(), &hello).await.unwrap();
        (logs[0].clone(), anew)
    });
    drop((log, other));
    world.crash();
    world.run(async {
        while !log_of(&world, "hello").await.is_empty() {
            world.clock.advance(Duration::from_secs(60)).await;
        }
        assert_eq!(log_of(&world, "other").await, ["hello"]);
    });
}

/// Resolves once sweeps have made it so; threads of their own have a part in them.
async fn swept(world: &World, so: impl Fn() -> bool) {
    while !so() {
        world.clock.advance(Duration::from_secs(60)).await;
    }
}

fn say(log: &dyn LogSink, text: &str) {
    log.write(LogEvent {
        at_ms: 1,
        platform: false,
        invocation: None,
        text: text.to_owned(),
    });
}

async fn log_of(world: &World, name: &str) -> Vec<String> {
    let key = Engine::log_key(&function(name));
    let entries = world.engine().logs().tail(&key, 100).await.unwrap();
    let text = |entry: store::logs::Entry| entry.line.text.clone();
    entries.into_iter().map(text).collect()
}

#[test]
fn an_invocation_that_waits_for_the_old_code_gets_it() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        world.runtime.hold_starts(true);
        let waiting = world.begin("hello", "").await;
        world.deploy("hello", world.deployment(2)).await;
        world.runtime.end_start(crate::fake::StartAs::Ready);
        assert!(waiting.await.unwrap().is_ok());
        settle().await;
        assert_eq!(world.states("hello"), "");
    });
}

#[test]
fn the_url_is_made_once() {
    let mut world = World::new();
    let id = world.run(async {
        let url = world
            .deploy("hello", world.deployment(1))
            .await
            .url
            .unwrap();
        assert_eq!(url.url_id.len(), 32);
        assert!(
            url.url_id
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        );
        world
            .engine()
            .set_url_port(&function("hello"), 4567)
            .await
            .unwrap();
        let mut deployment = world.deployment(2);
        deployment.url = None;
        assert_eq!(world.deploy("hello", deployment.clone()).await.url, None);
        assert!(world.engine().find_url(&url.url_id).is_none());
        deployment.url = Some(UrlSettings {
            cors: Some(model::Cors::default()),
            ..UrlSettings::default()
        });
        let again = world.deploy("hello", deployment).await.url.unwrap();
        assert_eq!((&again.url_id, again.port), (&url.url_id, Some(4567)));
        assert!(again.cors.is_some());
        url.url_id
    });
    world.crash();
    world.run(async {
        let found = world.engine().find_url(&id).unwrap();
        assert_eq!(found.url.port, Some(4567));
        assert_eq!(
            world.engine().list(&function("hello").account, None),
            [Arc::clone(&found.function)]
        );
        world.invoke("hello", "").await.unwrap();
    });
}

#[test]
fn a_deployed_url_is_open_as_its_project_says_and_other_statements_stay() {
    let mut world = World::new();
    let ids = |world: &World| -> Vec<String> {
        let policy = world.engine().policy(&reference("hello")).unwrap();
        let statements = policy.into_iter().flat_map(|policy| policy.statements);
        statements.map(|statement| statement.id).collect()
    };
    let public = || {
        let mut request = request("hello", "");
        request.principal = model::Principal::Public;
        request.url = Some(UrlAuth::Nobody);
        request
    };
    world.run(async {
        let mut deployment = world.deployment(1);
        assert!(world.deploy("hello", deployment.clone()).await.changed);
        assert_eq!(ids(&world), [model::policy::PUBLIC_URL]);
        world.engine().invoke(public()).await.unwrap();
        let own = Statement {
            id: "own".to_owned(),
            text: "{}".to_owned(),
        };
        let (who, target) = (owner(), reference("hello"));
        let engine = world.engine();
        engine
            .permit(&who, &target, Expected::Anything, own)
            .await
            .unwrap();
        let gone = model::policy::PUBLIC_URL;
        engine
            .forbid(&who, &target, Expected::Anything, gone)
            .await
            .unwrap();
        engine.invoke(public()).await.unwrap_err();
        // What a project says is so again once it is deployed.
        assert!(world.deploy("hello", deployment.clone()).await.changed);
        assert!(!world.deploy("hello", deployment.clone()).await.changed);
        assert_eq!(ids(&world), ["own", model::policy::PUBLIC_URL]);
        deployment.url = Some(UrlSettings {
            auth: UrlAuth::Signed,
            ..UrlSettings::default()
        });
        world.deploy("hello", deployment.clone()).await;
        assert_eq!(ids(&world), ["own"]);
        engine.invoke(public()).await.unwrap_err();
        deployment.url = Some(UrlSettings::default());
        world.deploy("hello", deployment.clone()).await;
        engine.invoke(public()).await.unwrap();
    });
    world.crash();
    world.run(async {
        world.engine().invoke(public()).await.unwrap();
        let mut deployment = world.deployment(1);
        deployment.url = None;
        world.deploy("hello", deployment).await;
        assert_eq!(ids(&world), ["own"]);
    });
}

#[test]
fn versions_are_immutable_and_aliases_lead_to_them_by_weight() {
    let mut world = World::new();
    world.run(async {
        let hello = function("hello");
        world.function("hello").await;
        let engine = world.engine();
        let one = world.publish("hello").await;
        assert_eq!(one, VersionId::Number(1));
        assert_eq!(world.publish("hello").await, one, "nothing changed");
        let mut second = world.deployment(2);
        second.publish = true;
        let two = world.deploy("hello", second.clone()).await;
        assert_eq!((two.version, two.changed), (VersionId::Number(2), true));
        let again = world.deploy("hello", second).await;
        assert_eq!(
            (again.version, again.changed),
            (VersionId::Number(2), false)
        );
        assert_eq!(
            engine.find(&reference("hello:1")).unwrap().config.code,
            world.code(1)
        );
        assert_eq!(
            engine.find(&reference("hello:2")).unwrap().config.code,
            world.code(2)
        );

        let routes = vec![(VersionId::Number(2), 0.9), (VersionId::Number(1), 0.1)];
        engine
            .set_alias(
                &owner(),
                &hello,
                &live(),
                AliasChange {
                    routes: Some(routes),
                    ..AliasChange::default()
                },
            )
            .await
            .unwrap();
        let mut ran = [0; 2];
        for _ in 0..300 {
            world.invoke("hello:live", "").await.unwrap();
        }
        for instance in world.runtime.alive() {
            let served = instance.served.load(std::sync::atomic::Ordering::SeqCst);
            ran[usize::from(instance.order.version == VersionId::Number(2))] += served;
        }
        assert!(
            (10..60).contains(&ran[0]) && ran[0] + ran[1] == 300,
            "{ran:?}"
        );
    });
    world.crash();
    world.run(async {
        let view = world.engine().find(&reference("hello:live")).unwrap();
        assert_eq!(view.version, VersionId::Number(2));
        assert_eq!(view.versions, [VersionId::Number(1), VersionId::Number(2)]);
        assert_eq!(view.aliases.len(), 1);
        world.invoke("hello:1", "").await.unwrap();
    });
}

#[test]
fn routes_that_make_no_sense_are_refused() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        let engine = world.engine();
        let one = world.publish("hello").await;
        let latest = VersionId::Latest;
        for routes in [
            vec![],
            vec![(one, 0.5)],
            vec![(one, f64::NAN)],
            vec![(one, 0.5), (one, 0.5)],
            vec![(one, 0.5), (latest, 0.5)],
            vec![(VersionId::Number(9), 1.0)],
            vec![(one, 0.2), (one, 0.3), (one, 0.5)],
        ] {
            let promoted = engine
                .set_alias(
                    &owner(),
                    &function("hello"),
                    &live(),
                    AliasChange {
                        routes: Some(routes),
                        ..AliasChange::default()
                    },
                )
                .await;
            assert_eq!(promoted.unwrap_err().fault(), Fault::Caller);
        }
    });
}

#[test]
fn what_cannot_run_is_refused_and_changes_nothing() {
    let world = World::new();
    world.run(async {
        let (owner, hello) = (owner(), function("hello"));
        let deploy = |deployment| world.engine().deploy(&owner, &hello, deployment);
        let mut wrong = world.deployment(1);
        wrong.config.memory_mb = 1;
        assert!(matches!(deploy(wrong).await, Err(Error::Invalid(_))));
        let mut missing = world.deployment(1);
        missing.config.code.digest = model::Digest::from_bytes([7; 32]);
        assert!(matches!(
            deploy(missing).await,
            Err(Error::CodeMissing { .. })
        ));
        let mut odd = world.deployment(1);
        odd.config.handler = "odd.handler".into();
        odd.config.memory_mb = 10_240;
        assert_eq!(deploy(odd).await.unwrap().warnings.len(), 2);
        world.engine().remove(&owner, &hello).await.unwrap();
        world.runtime.refuse("no interpreter");
        assert!(matches!(
            deploy(world.deployment(1)).await,
            Err(Error::CannotRun(_))
        ));
        let stranger = model::Principal::Account("123456789012".parse().unwrap());
        let denied = world
            .engine()
            .deploy(&stranger, &hello, world.deployment(1))
            .await;
        assert!(matches!(denied, Err(Error::Denied { .. })));
        assert!(world.engine().list(&hello.account, None).is_empty());
    });
}

#[test]
fn a_removed_function_is_gone_with_its_instances_and_versions() {
    let mut world = World::new();
    world.run(async {
        world.function("hello").await;
        world.publish("hello").await;
        world.invoke("hello:1", "").await.unwrap();
        let busy = world.begin("hello", "hold").await;
        world
            .engine()
            .remove(&owner(), &function("hello"))
            .await
            .unwrap();
        assert!(matches!(
            world.invoke("hello", "").await,
            Err(Error::NotFound { .. })
        ));
        world.release_all().await;
        assert!(busy.await.unwrap().is_ok());
        assert!(world.runtime.alive().is_empty());
        let gone = world.engine().remove(&owner(), &function("hello")).await;
        assert!(matches!(gone, Err(Error::NotFound { .. })));
        // Deployed again, it begins anew.
        world.function("hello").await;
        let one = world.publish("hello").await;
        assert_eq!(one, VersionId::Number(1));
        world
            .engine()
            .remove(&owner(), &function("hello"))
            .await
            .unwrap();
    });
    world.crash();
    assert!(
        world
            .engine()
            .list(&function("hello").account, None)
            .is_empty()
    );
}

#[test]
fn a_trial_start_leaves_nothing_and_takes_nothing_from_others() {
    let world = World::with(1, |config| config.memory_mb_max = 128);
    world.run(async {
        world.function("hello").await;
        let hello = function("hello");
        let flaw = world.engine().trial(&owner(), &hello).await.unwrap();
        assert_eq!(flaw, None);
        let order = world.runtime.orders().pop().unwrap();
        assert!(order.is_trial());
        assert_eq!(world.runtime.alive().len(), 0);
        assert_eq!(world.states("hello"), "", "no instance of the function");

        world.runtime.starts_end(StartAs::Failed);
        let flaw = world.engine().trial(&owner(), &hello).await.unwrap();
        assert_eq!(flaw.as_deref(), Some("it is flawed"));
        world.runtime.starts_end(StartAs::TimedOut);
        let flaw = world.engine().trial(&owner(), &hello).await.unwrap();
        assert_eq!(flaw, None, "it may wait for what a trial does not have");

        // All the memory there is is taken: nobody is asked to make room for a trial.
        world.runtime.starts_end(StartAs::Ready);
        world.begin("hello", "hold").await;
        let before = world.runtime.orders().len();
        let flaw = world.engine().trial(&owner(), &hello).await.unwrap();
        assert_eq!(flaw, None);
        assert_eq!(world.runtime.orders().len(), before);
        world.release_all().await;
        let missing = world.engine().trial(&owner(), &function("nobody")).await;
        assert!(matches!(missing, Err(Error::NotFound { .. })));
    });
}
