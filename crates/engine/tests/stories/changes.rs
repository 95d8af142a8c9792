//! What is changed of a function in parts, as other people's tools do.

use std::collections::BTreeMap;
use std::time::Duration;

use engine::Error;
use engine::verb::{
    AliasChange, Changed, Creation, EventState, Expected, Publication, Retries, Statement, Update,
};
use model::{Principal, VersionId};

use crate::clock::settle;
use crate::world::{World, function, owner, reference, request};

async fn create(world: &World, publish: Option<Publication>) -> Result<Changed, Error> {
    let creation = Creation {
        config: world.deployment(1).config,
        tags: BTreeMap::new(),
        publish,
    };
    world
        .engine()
        .create(&owner(), &function("hello"), creation)
        .await
}

fn remember(memory_mb: u32) -> Update {
    Update {
        expected: Expected::Anything,
        edit: Box::new(move |config| config.memory_mb = memory_mb),
        publish: None,
        dry_run: false,
    }
}

async fn update(world: &World, update: Update) -> Result<Changed, Error> {
    world
        .engine()
        .update(&owner(), &function("hello"), update)
        .await
}

fn memory_mb(world: &World) -> u32 {
    world
        .engine()
        .find(&reference("hello"))
        .unwrap()
        .config
        .memory_mb
}

#[test]
fn what_is_there_is_not_made_again() {
    let world = World::new();
    world.run(async {
        let made = create(&world, None).await.unwrap();
        assert_eq!(
            (made.view.version, made.view.revision),
            (VersionId::Latest, 1)
        );
        let again = create(&world, None).await;
        assert!(
            matches!(again, Err(Error::AlreadyThere { .. })),
            "{again:?}"
        );
        assert_eq!(
            world.invoke("hello", "").await.unwrap().outcome.end,
            model::End::Replied
        );
    });
}

#[test]
fn an_update_changes_what_it_says_and_runs_on_new_instances() {
    let world = World::new();
    world.run(async {
        create(&world, None).await.unwrap();
        world.invoke("hello", "").await.unwrap();
        let changed = update(&world, remember(256)).await.unwrap();
        assert_eq!(
            (changed.view.config.memory_mb, changed.view.revision),
            (256, 2)
        );
        settle().await;
        assert_eq!(world.states("hello"), "", "what was idle has gone");
        let missing = world
            .engine()
            .update(&owner(), &function("other"), remember(256))
            .await;
        assert!(matches!(missing, Err(Error::NotFound { .. })));
    });
}

#[test]
fn an_update_of_what_has_changed_since_is_refused() {
    let world = World::new();
    world.run(async {
        let made = create(&world, None).await.unwrap();
        update(&world, remember(256)).await.unwrap();
        let late = Update {
            expected: Expected::Revision(made.view.revision),
            ..remember(512)
        };
        let refused = update(&world, late).await;
        assert!(matches!(refused, Err(Error::Stale { .. })), "{refused:?}");
        assert_eq!(memory_mb(&world), 256);
    });
}

#[test]
fn of_updates_at_the_same_time_one_is_made_and_the_other_told() {
    let world = World::new();
    world.run(async {
        create(&world, None).await.unwrap();
        let describe = Update {
            edit: Box::new(|config| config.description = "greets".into()),
            ..remember(0)
        };
        let (one, other) = tokio::join!(update(&world, remember(256)), update(&world, describe));
        let (made, refused) = if one.is_ok() {
            (one, other)
        } else {
            (other, one)
        };
        let made = made.unwrap().view;
        assert!(
            matches!(refused, Err(Error::Conflict { .. })),
            "{refused:?}"
        );
        let view = world.engine().find(&reference("hello")).unwrap();
        assert_eq!(view.config, made.config);
    });
}

#[test]
fn what_else_changes_of_a_function_does_not_disturb_an_update() {
    let world = World::new();
    world.run(async {
        create(&world, None).await.unwrap();
        let (who, hello) = (owner(), function("hello"));
        let tags = [("team".to_owned(), "blue".to_owned())].into();
        let tag = world.engine().tag(&who, &hello, tags, Vec::new());
        let (made, tagged) = tokio::join!(update(&world, remember(256)), tag);
        tagged.unwrap();
        made.unwrap();
        let view = world.engine().find(&reference("hello")).unwrap();
        assert_eq!((view.config.memory_mb, view.tags.len()), (256, 1));
    });
}

#[test]
fn a_dry_run_and_a_faulty_update_change_nothing() {
    let world = World::new();
    world.run(async {
        create(&world, None).await.unwrap();
        let dry = Update {
            dry_run: true,
            ..remember(256)
        };
        assert_eq!(
            update(&world, dry).await.unwrap().view.config.memory_mb,
            256
        );
        assert!(matches!(
            update(&world, remember(1)).await,
            Err(Error::Invalid(_))
        ));
        assert_eq!(memory_mb(&world), 128);
    });
}

#[test]
fn a_published_version_says_what_its_publication_did() {
    let mut world = World::new();
    world.run(async {
        let publish = Publication {
            description: Some("the first".into()),
        };
        let made = create(&world, Some(publish)).await.unwrap();
        assert_eq!(made.view.version, VersionId::Number(1));
        assert_eq!(made.view.config.description, "the first");
        let latest = world.engine().find(&reference("hello")).unwrap();
        assert_eq!(latest.config.description, "");
        let served = world.engine().invoke(request("hello:1", "")).await.unwrap();
        assert_eq!(served.outcome.end, model::End::Replied);
    });
    world.crash();
    let kept = world.engine().find(&reference("hello:1")).unwrap();
    assert_eq!(kept.config.description, "the first");
    world.run(async {
        let publish = async |description: Option<&str>| {
            let publication = Publication {
                description: description.map(str::to_owned),
            };
            let (who, hello) = (owner(), function("hello"));
            let engine = world.engine();
            let published = engine.publish(&who, &hello, Expected::Anything, publication);
            published.await.unwrap().version
        };
        let describe = |text: &'static str| Update {
            edit: Box::new(move |config| config.description = text.into()),
            ..remember(0)
        };
        // Another word for the same is no other version; another function is.
        for description in [None, Some("the first"), Some("the second")] {
            assert_eq!(publish(description).await, VersionId::Number(1));
        }
        update(&world, describe("greets")).await.unwrap();
        assert_eq!(publish(None).await, VersionId::Number(2));
        update(&world, describe("the third")).await.unwrap();
        assert_eq!(publish(Some("the third")).await, VersionId::Number(3));
        assert_eq!(publish(None).await, VersionId::Number(3));
    });
}

#[test]
fn a_version_that_an_alias_leads_to_stays() {
    let mut world = World::new();
    let remove = |world: &World, number| {
        let engine = world.engine().clone();
        async move {
            engine
                .remove_version(&owner(), &function("hello"), number)
                .await
        }
    };
    world.run(async {
        create(&world, Some(Publication::default())).await.unwrap();
        let live = "live".parse().unwrap();
        let change = AliasChange {
            expected: Expected::Absent,
            routes: Some(vec![(VersionId::Number(1), 1.0)]),
            description: Some("what users get".into()),
        };
        let hello = function("hello");
        let engine = world.engine();
        let alias = engine
            .set_alias(&owner(), &hello, &live, change.clone())
            .await
            .unwrap();
        assert_eq!(
            (alias.description.as_str(), alias.revision),
            ("what users get", 1)
        );
        let again = engine.set_alias(&owner(), &hello, &live, change).await;
        assert!(matches!(again, Err(Error::AlreadyThere { .. })));
        let used = remove(&world, 1).await;
        assert!(matches!(used, Err(Error::InUse { .. })), "{used:?}");
        engine.remove_alias(&owner(), &hello, &live).await.unwrap();
        remove(&world, 1).await.unwrap();
        let gone = engine.invoke(request("hello:1", "")).await;
        assert!(matches!(gone, Err(Error::VersionNotFound { .. })));
        assert!(remove(&world, 1).await.is_err());
        // Its number is never given again.
        update(&world, remember(256)).await.unwrap();
        assert_eq!(world.publish("hello").await, VersionId::Number(2));
    });
    world.crash();
    let versions = world
        .engine()
        .find(&reference("hello"))
        .unwrap()
        .versions
        .clone();
    assert_eq!(versions, [VersionId::Number(2)]);
}

fn statement(id: &str, account: &str) -> Statement {
    Statement {
        id: id.into(),
        text: format!(
            r#"{{"Sid":"{id}","Effect":"Allow","Principal":{{"AWS":"arn:aws:iam::{account}:root"}},"Action":"lambda:InvokeFunction"}}"#
        ),
    }
}

#[test]
fn a_policy_lets_another_account_in_until_it_is_taken_back() {
    let mut world = World::new();
    let stranger = || {
        let mut asked = request("hello", "");
        asked.principal = Principal::Account("123456789012".parse().unwrap());
        asked
    };
    world.run(async {
        create(&world, None).await.unwrap();
        let refused = world.engine().invoke(stranger()).await;
        assert!(matches!(refused, Err(Error::Denied { .. })));
        let target = reference("hello");
        let permit = |statement| {
            world
                .engine()
                .permit(&OWNER, &target, Expected::Anything, statement)
        };
        permit(statement("one", "123456789012")).await.unwrap();
        let again = permit(statement("one", "123456789012")).await;
        assert!(matches!(again, Err(Error::AlreadyThere { .. })));
        world.engine().invoke(stranger()).await.unwrap();
    });
    world.crash();
    world.run(async {
        world.engine().invoke(stranger()).await.unwrap();
        let target = reference("hello");
        let policy = world.engine().policy(&target).unwrap().unwrap();
        assert_eq!(policy.statements, [statement("one", "123456789012")]);
        let expected = Expected::Revision(policy.revision + 1);
        let stale = world
            .engine()
            .forbid(&owner(), &target, expected, "one")
            .await;
        assert!(matches!(stale, Err(Error::Stale { .. })));
        let forbid = world
            .engine()
            .forbid(&OWNER, &target, Expected::Anything, "one");
        forbid.await.unwrap();
        assert_eq!(world.engine().policy(&target).unwrap(), None);
        assert!(world.engine().invoke(stranger()).await.is_err());
    });
}

static OWNER: std::sync::LazyLock<Principal> = std::sync::LazyLock::new(owner);

#[test]
fn a_function_says_how_often_its_events_are_tried() {
    let world = World::new();
    world.run(async {
        create(&world, None).await.unwrap();
        let none = Retries {
            retries_max: Some(0),
            ..Retries::default()
        };
        let target = reference("hello");
        let set = world
            .engine()
            .set_retries(&OWNER, &target, move |_| Ok(Some(none)));
        set.await.unwrap();
        let id = world
            .engine()
            .submit(request("hello", "fail"))
            .await
            .unwrap();
        world.clock.advance(Duration::from_secs(5)).await;
        let event = world.engine().event(&owner(), &id).await.unwrap().unwrap();
        assert_eq!((event.state, event.attempts), (EventState::DeadLettered, 1));
    });
}

#[test]
fn what_tools_want_kept_is_kept_over_a_restart() {
    let mut world = World::new();
    world.run(async {
        create(&world, None).await.unwrap();
        let engine = world.engine();
        let hello = function("hello");
        let add = [
            ("team".to_owned(), "blue".to_owned()),
            ("a".to_owned(), "b".to_owned()),
        ]
        .into();
        engine.tag(&owner(), &hello, add, Vec::new()).await.unwrap();
        engine
            .tag(&owner(), &hello, BTreeMap::new(), vec!["a".into()])
            .await
            .unwrap();
        let many = (0..60)
            .map(|n| (format!("tag{n}"), String::new()))
            .collect();
        let refused = engine.tag(&owner(), &hello, many, Vec::new()).await;
        assert!(matches!(refused, Err(Error::TooMany { .. })));
        engine
            .keep(&owner(), &hello, "recursion", Some("\"Allow\"".into()))
            .await
            .unwrap();
        engine.reserve(&owner(), &hello, Some(3)).await.unwrap();
    });
    world.crash();
    let view = world.engine().find(&reference("hello")).unwrap();
    assert_eq!(view.tags.len(), 1);
    assert_eq!(view.reserved_concurrency, Some(3));
    let kept = world
        .engine()
        .kept(&function("hello"), "recursion")
        .unwrap();
    assert_eq!(kept.as_deref(), Some("\"Allow\""));
}

#[test]
fn a_function_and_its_aliases_have_urls_of_their_own() {
    let mut world = World::new();
    let ids = world.run(async {
        create(&world, Some(Publication::default())).await.unwrap();
        let engine = world.engine();
        let hello = function("hello");
        let lead = AliasChange {
            routes: Some(vec![(VersionId::Number(1), 1.0)]),
            ..AliasChange::default()
        };
        let live = "live".parse().unwrap();
        engine
            .set_alias(&owner(), &hello, &live, lead)
            .await
            .unwrap();
        let mut ids = Vec::new();
        for target in ["hello", "hello:live"] {
            let target = reference(target);
            let settings = || Some(engine::verb::UrlSettings::default());
            let set = engine.set_url(&OWNER, &target, Expected::Absent, settings());
            let url = set.await.unwrap().unwrap();
            let again = engine.set_url(&OWNER, &target, Expected::Absent, settings());
            assert!(matches!(again.await, Err(Error::AlreadyThere { .. })));
            assert_eq!(engine.find_url(&url.url_id).unwrap().target, target);
            ids.push(url.url_id);
        }
        let version = reference("hello:1");
        let none = engine.set_url(&OWNER, &version, Expected::Absent, None);
        assert!(none.await.is_err());
        ids
    });
    world.crash();
    world.run(async {
        let engine = world.engine();
        let alias = engine.find_url(&ids[1]).unwrap();
        assert_eq!(alias.target, reference("hello:live"));
        let live = "live".parse().unwrap();
        engine
            .remove_alias(&owner(), &function("hello"), &live)
            .await
            .unwrap();
        assert!(engine.find_url(&ids[1]).is_none());
        let own = reference("hello");
        let remove = || engine.set_url(&OWNER, &own, Expected::Present, None);
        assert_eq!(remove().await.unwrap(), None);
        assert!(matches!(remove().await, Err(Error::NotThere { .. })));
        assert!(engine.find_url(&ids[0]).is_none());
    });
}
