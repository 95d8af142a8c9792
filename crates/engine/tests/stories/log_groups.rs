//! Log groups: what functions log and clients put, in order, by streams, for as long as it is kept.

use std::collections::BTreeMap;
use std::time::Duration;

use engine::log_group::{
    Begin, Creation, Filter, Found, GroupQuery, NewEvent, Query, StreamOrder, StreamQuery, Streams,
    Taken,
};
use engine::port::{LogEvent, LogSink};
use engine::{Engine, Error};
use model::{InstanceId, LogGroupId, LogStreamName, Principal};
use store::Clock;

use crate::world::{World, function, owner};

fn group(name: &str) -> LogGroupId {
    LogGroupId {
        account: "000000000000".parse().unwrap(),
        region: "eu-west-1".parse().unwrap(),
        name: name.parse().unwrap(),
    }
}

fn stream(name: &str) -> LogStreamName {
    name.parse().unwrap()
}

fn say(log: &dyn LogSink, at_ms: u64, text: &str) {
    log.write(LogEvent {
        at_ms,
        platform: false,
        invocation: None,
        text: text.to_owned(),
    });
}

fn all() -> Query {
    Query {
        limit: 100,
        ..Query::default()
    }
}

async fn read(world: &World, name: &str, query: Query) -> Result<Found, Error> {
    let groups = world.engine().log_groups();
    groups.events(&owner(), &group(name), query).await
}

async fn texts(world: &World, name: &str, query: Query) -> Vec<String> {
    let found = read(world, name, query).await.unwrap();
    found.events.into_iter().map(|event| event.text).collect()
}

async fn put(world: &World, name: &str, to: &str, events: &[(u64, &str)]) -> Result<Taken, Error> {
    let event = |(at_ms, text): &(u64, &str)| NewEvent {
        at_ms: *at_ms,
        text: (*text).to_owned(),
    };
    let events = events.iter().map(event).collect();
    let groups = world.engine().log_groups();
    groups
        .put(&owner(), &group(name), &stream(to), events)
        .await
}

async fn streams(world: &World, name: &str) -> Vec<String> {
    let query = StreamQuery {
        limit: 50,
        ..StreamQuery::default()
    };
    let groups = world.engine().log_groups();
    let (streams, _) = groups
        .streams(&owner(), &group(name), &query)
        .await
        .unwrap();
    streams.into_iter().map(|stream| stream.name).collect()
}

async fn names(world: &World) -> Vec<String> {
    let query = GroupQuery {
        limit: 50,
        ..GroupQuery::default()
    };
    let owner = function("x");
    let groups = world.engine().log_groups();
    let found = groups
        .list(&owner.account, &owner.region, &query)
        .await
        .unwrap();
    found
        .into_iter()
        .map(|group| group.id.name.to_string())
        .collect()
}

#[test]
fn a_functions_group_is_there_once_it_ran_and_shows_its_instances() {
    let mut world = World::new();
    let streams_before = world.run(async {
        world.function("hello").await;
        assert!(names(&world).await.is_empty());
        world.invoke("hello", "").await.unwrap();
        assert_eq!(names(&world).await, ["/aws/lambda/hello"]);
        let order = world.runtime.orders().pop().unwrap();
        let now_ms = world.clock.now_ms();
        say(&*order.log, now_ms + 2, "second");
        say(&*order.log, now_ms + 1, "first");
        assert_eq!(
            texts(&world, "/aws/lambda/hello", all()).await,
            ["first", "second"]
        );
        let streams = streams(&world, "/aws/lambda/hello").await;
        assert_eq!(streams, [order.log_stream.to_string()]);
        streams
    });
    world.crash();
    world.run(async {
        assert_eq!(streams(&world, "/aws/lambda/hello").await, streams_before);
        let hello = function("hello");
        world.engine().remove(&owner(), &hello).await.unwrap();
        assert_eq!(texts(&world, "/aws/lambda/hello", all()).await.len(), 2);
        while !names(&world).await.is_empty() {
            world.clock.advance(Duration::from_secs(60)).await;
        }
    });
}

#[test]
fn a_group_that_somebody_made_stays_and_functions_can_share_it() {
    let world = World::new();
    world.run(async {
        let groups = world.engine().log_groups();
        groups
            .create(&owner(), &group("mine"), Creation::default())
            .await
            .unwrap();
        let again = groups
            .create(&owner(), &group("mine"), Creation::default())
            .await;
        assert!(matches!(again, Err(Error::AlreadyThere { .. })));
        for name in ["one", "two"] {
            let mut deployment = world.deployment(1);
            deployment.config.declared.log_group = Some("mine".to_owned());
            world.deploy(name, deployment).await;
            world.invoke(name, "").await.unwrap();
        }
        for (order, text) in world.runtime.orders().iter().zip(["a", "b"]) {
            say(&*order.log, world.clock.now_ms(), text);
        }
        assert_eq!(texts(&world, "mine", all()).await.len(), 2);
        assert_eq!(streams(&world, "mine").await.len(), 2);
        assert!(matches!(
            read(&world, "/aws/lambda/one", all()).await,
            Err(Error::NotThere { .. })
        ));
        for name in ["one", "two"] {
            world
                .engine()
                .remove(&owner(), &function(name))
                .await
                .unwrap();
        }
        for _ in 0..5 {
            world.clock.advance(Duration::from_secs(60)).await;
        }
        assert_eq!(names(&world).await, ["mine"]);
        groups.remove(&owner(), &group("mine")).await.unwrap();
        assert!(names(&world).await.is_empty());
    });
}

#[test]
fn a_removed_group_or_stream_does_not_come_back_with_what_was_in_it() {
    let world = World::new();
    world.run(async {
        world.function("hello").await;
        world.invoke("hello", "").await.unwrap();
        let name = "/aws/lambda/hello";
        let groups = world.engine().log_groups();
        let log = world.runtime.orders().pop().unwrap();
        let instance = stream(&log.log_stream);
        say(&*log.log, world.clock.now_ms(), "old");
        groups
            .create_stream(&owner(), &group(name), &stream("own"))
            .await
            .unwrap();
        put(&world, name, "own", &[(world.clock.now_ms(), "put")])
            .await
            .unwrap();
        put(
            &world,
            name,
            instance.as_str(),
            &[(world.clock.now_ms(), "put")],
        )
        .await
        .unwrap();
        assert_eq!(texts(&world, name, all()).await.len(), 3);

        for removed in [&instance, &stream("own")] {
            groups
                .remove_stream(&owner(), &group(name), removed)
                .await
                .unwrap();
            let again = groups.remove_stream(&owner(), &group(name), removed).await;
            assert!(matches!(again, Err(Error::NotThere { .. })), "{again:?}");
            groups
                .create_stream(&owner(), &group(name), removed)
                .await
                .unwrap();
        }
        assert!(texts(&world, name, all()).await.is_empty());
        world.clock.advance(Duration::from_millis(2)).await;
        say(&*log.log, world.clock.now_ms(), "new");
        assert_eq!(texts(&world, name, all()).await, ["new"]);

        world.clock.advance(Duration::from_millis(2)).await;
        groups.remove(&owner(), &group(name)).await.unwrap();
        let gone = read(&world, name, all()).await;
        assert!(matches!(gone, Err(Error::NotThere { .. })));
        let key = Engine::log_key(&function("hello"));
        assert!(
            world
                .engine()
                .logs()
                .tail(&key, 9)
                .await
                .unwrap()
                .is_empty()
        );
        groups
            .create(&owner(), &group(name), Creation::default())
            .await
            .unwrap();
        assert!(streams(&world, name).await.is_empty());
        say(&*log.log, world.clock.now_ms(), "newest");
        assert_eq!(texts(&world, name, all()).await, ["newest"]);
    });
}

#[test]
fn events_are_read_in_pages_both_ways() {
    let world = World::new();
    world.run(async {
        let groups = world.engine().log_groups();
        groups
            .create(&owner(), &group("g"), Creation::default())
            .await
            .unwrap();
        for name in ["a", "b"] {
            groups
                .create_stream(&owner(), &group("g"), &stream(name))
                .await
                .unwrap();
        }
        let now_ms = world.clock.now_ms();
        // Of two streams, the later one first, some at the same time.
        for (to, first) in [("b", 1), ("a", 0)] {
            let events: Vec<_> = (0..10)
                .map(|n| (now_ms + 2 * (n / 2) + first, "x"))
                .collect();
            put(&world, "g", to, &events).await.unwrap();
        }
        let everything = read(&world, "g", all()).await.unwrap();
        assert!(everything.events.is_sorted_by_key(|event| event.key));
        assert_eq!((everything.events.len(), everything.more), (20, false));
        let mut seen = Vec::new();
        let mut begin = Begin::Oldest;
        loop {
            let page = Query {
                begin,
                limit: 3,
                ..Query::default()
            };
            let found = read(&world, "g", page).await.unwrap();
            let Some(last) = found.events.last() else {
                break;
            };
            begin = Begin::After(last.key);
            assert_eq!(found.more, seen.len() + found.events.len() < 20);
            seen.extend(found.events);
        }
        assert_eq!(seen, everything.events);
        let mut back = Vec::new();
        let mut begin = Begin::Newest;
        loop {
            let page = Query {
                begin,
                limit: 7,
                ..Query::default()
            };
            let found = read(&world, "g", page).await.unwrap();
            let Some(first) = found.events.first() else {
                break;
            };
            begin = Begin::Before(first.key);
            back.splice(0..0, found.events);
        }
        assert_eq!(back, everything.events);

        let some = Query {
            from_ms: Some(now_ms + 2),
            until_ms: Some(now_ms + 4),
            streams: Streams::Named(vec!["a".to_owned()]),
            ..all()
        };
        assert_eq!(read(&world, "g", some).await.unwrap().events.len(), 2);
        let prefix = Query {
            streams: Streams::Prefix("b".to_owned()),
            ..all()
        };
        assert_eq!(read(&world, "g", prefix).await.unwrap().events.len(), 10);
        let none = Query {
            filter: Some(Filter::new(|text| text == "y")),
            ..all()
        };
        assert!(read(&world, "g", none).await.unwrap().events.is_empty());
        let missing = Query {
            streams: Streams::Named(vec!["c".to_owned()]),
            ..all()
        };
        assert!(matches!(
            read(&world, "g", missing).await,
            Err(Error::NotThere { .. })
        ));
    });
}

#[test]
fn one_answer_holds_so_many_bytes_and_always_one_event() {
    let world = World::new();
    world.run(async {
        let groups = world.engine().log_groups();
        groups
            .create(&owner(), &group("g"), Creation::default())
            .await
            .unwrap();
        groups
            .create_stream(&owner(), &group("g"), &stream("s"))
            .await
            .unwrap();
        let now_ms = world.clock.now_ms();
        let long = "x".repeat(600 * 1024);
        for at in 0..3 {
            put(&world, "g", "s", &[(now_ms + at, &long)])
                .await
                .unwrap();
        }
        put(&world, "g", "s", &[(now_ms + 3, "short")])
            .await
            .unwrap();
        let found = read(&world, "g", all()).await.unwrap();
        assert_eq!((found.events.len(), found.more), (1, true));
        let after = Begin::After(found.events[0].key);
        let rest = read(
            &world,
            "g",
            Query {
                begin: after,
                ..all()
            },
        )
        .await
        .unwrap();
        assert_eq!((rest.events.len(), rest.more), (1, true));
        let newest = read(
            &world,
            "g",
            Query {
                begin: Begin::Newest,
                ..all()
            },
        )
        .await
        .unwrap();
        assert_eq!((newest.events.len(), newest.more), (2, true));
    });
}

#[test]
fn what_is_too_old_for_its_group_is_not_shown_and_goes() {
    let world = World::new();
    world.run(async {
        let groups = world.engine().log_groups();
        groups
            .create(&owner(), &group("g"), Creation::default())
            .await
            .unwrap();
        groups
            .create_stream(&owner(), &group("g"), &stream("s"))
            .await
            .unwrap();
        let then_ms = world.clock.now_ms();
        put(&world, "g", "s", &[(then_ms, "old")]).await.unwrap();
        let wrong = groups.retain(&owner(), &group("g"), Some(2)).await;
        assert!(matches!(wrong, Err(Error::UnfitLog(_))));
        groups.retain(&owner(), &group("g"), Some(1)).await.unwrap();
        assert_eq!(texts(&world, "g", all()).await, ["old"]);
        world.clock.advance(Duration::from_secs(24 * 3600)).await;
        world.clock.advance(Duration::from_millis(1)).await;
        assert!(texts(&world, "g", all()).await.is_empty());
        let late = put(&world, "g", "s", &[(then_ms, "late")]).await.unwrap();
        assert_eq!(late.expired, 1);
        while groups
            .find(&owner(), &group("g"))
            .await
            .unwrap()
            .stored_bytes
            > 0
        {
            world.clock.advance(Duration::from_secs(3600)).await;
        }
        groups.retain(&owner(), &group("g"), None).await.unwrap();
        assert!(texts(&world, "g", all()).await.is_empty());
        assert_eq!(streams(&world, "g").await, ["s"]);
    });
}

#[test]
fn an_instance_reads_no_other_functions_log() {
    let world = World::new();
    world.run(async {
        for name in ["own", "other"] {
            world.function(name).await;
            world.invoke(name, "").await.unwrap();
        }
        let groups = world.engine().log_groups();
        groups
            .create(&owner(), &group("free"), Creation::default())
            .await
            .unwrap();
        let instance = Principal::Instance {
            function: function("own"),
            instance: InstanceId::from_random([1; 16]),
        };
        for (name, may) in [
            ("/aws/lambda/own", true),
            ("free", true),
            ("/aws/lambda/other", false),
        ] {
            let id = group(name);
            let read = groups.events(&instance, &id, all()).await;
            assert_eq!(read.is_ok(), may, "{name}");
            let made = groups.create_stream(&instance, &id, &stream("s")).await;
            assert_eq!(made.is_ok(), may, "{name}");
            let removed = groups.remove_stream(&instance, &id, &stream("s")).await;
            assert_eq!(removed.is_ok(), may, "{name}");
        }
        let stranger = Principal::Account("111111111111".parse().unwrap());
        let refused = groups.remove(&stranger, &group("free")).await;
        assert!(matches!(refused, Err(Error::NotAllowed { .. })));
    });
}

#[test]
fn groups_have_tags_and_streams_an_order() {
    let mut world = World::new();
    world.run(async {
        let groups = world.engine().log_groups();
        let creation = Creation {
            tags: BTreeMap::from([("a".to_owned(), "1".to_owned())]),
            protected: true,
            ..Creation::default()
        };
        groups
            .create(&owner(), &group("g"), creation)
            .await
            .unwrap();
        let add = BTreeMap::from([("b".to_owned(), "2".to_owned())]);
        groups
            .tag(&owner(), &group("g"), add, vec!["a".to_owned()])
            .await
            .unwrap();
        let many = (0..51).map(|n| (n.to_string(), String::new())).collect();
        let refused = groups.tag(&owner(), &group("g"), many, Vec::new()).await;
        assert!(matches!(refused, Err(Error::TooMany { .. })));
        let refused = groups.remove(&owner(), &group("g")).await;
        assert!(matches!(refused, Err(Error::InUse { .. })));
        let now_ms = world.clock.now_ms();
        for (name, at_ms) in [("a", now_ms + 3), ("b", now_ms + 1), ("c", now_ms + 2)] {
            groups
                .create_stream(&owner(), &group("g"), &stream(name))
                .await
                .unwrap();
            put(&world, "g", name, &[(at_ms, "x")]).await.unwrap();
        }
    });
    world.crash();
    world.run(async {
        let groups = world.engine().log_groups();
        let found = groups.find(&owner(), &group("g")).await.unwrap();
        assert_eq!(
            found.tags,
            BTreeMap::from([("b".to_owned(), "2".to_owned())])
        );
        for (order, descending, expected) in [
            (StreamOrder::Name, false, ["a", "b", "c"]),
            (StreamOrder::Name, true, ["c", "b", "a"]),
            (StreamOrder::LastEvent, false, ["b", "c", "a"]),
            (StreamOrder::LastEvent, true, ["a", "c", "b"]),
        ] {
            let mut query = StreamQuery {
                order,
                descending,
                limit: 2,
                ..StreamQuery::default()
            };
            let (first, more) = groups.streams(&owner(), &group("g"), &query).await.unwrap();
            assert!(more);
            query.after = Some(first[1].place(order));
            let (second, more) = groups.streams(&owner(), &group("g"), &query).await.unwrap();
            assert!(!more);
            let seen: Vec<_> = first
                .iter()
                .chain(&second)
                .map(|it| it.name.as_str())
                .collect();
            assert_eq!(seen, expected);
        }
    });
}
