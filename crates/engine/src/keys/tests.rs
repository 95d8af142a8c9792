//! Keys and sessions over a store in memory, with a clock that stands still.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};

use expect_test::{Expect as Expected, expect};

use super::*;

/// A clock that is set, and whose randomness counts up.
#[derive(Debug, Default)]
struct SetClock {
    now_us: AtomicU64,
    drawn: AtomicU64,
}

impl Clock for SetClock {
    fn now_us(&self) -> u64 {
        self.now_us.load(Ordering::Relaxed)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.now_us())
    }

    fn sleep(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::pending())
    }

    fn random(&self, buffer: &mut [u8]) {
        let drawn = self.drawn.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        for (at, byte) in buffer.iter_mut().enumerate() {
            *byte = drawn.get(at).copied().unwrap_or(at as u8);
        }
    }
}

struct World {
    store: Arc<dyn Store>,
    clock: Arc<SetClock>,
}

impl World {
    fn new() -> Self {
        Self {
            store: Arc::new(store::Memory::new()),
            clock: Arc::default(),
        }
    }

    async fn keys(&self) -> Keys {
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        Keys::open(Arc::clone(&self.store), clock).await.unwrap()
    }

    fn pass(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap();
        self.clock.now_us.fetch_add(us, Ordering::Relaxed);
    }
}

fn account(text: &str) -> AccountId {
    text.parse().unwrap()
}

fn instance() -> Identity {
    let function = FunctionId {
        account: account("000000000000"),
        region: "us-east-1".parse().unwrap(),
        name: "hello".parse().unwrap(),
    };
    Identity {
        account: function.account.clone(),
        key: None,
        who: Who::Instance {
            role: "hello-role".into(),
            function,
            instance: InstanceId::from_random([7; 16]),
        },
    }
}

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_key_is_found_after_a_restart_and_gone_once_removed() {
    let world = World::new();
    let (own, other) = (account("000000000000"), account("111111111111"));
    let keys = world.keys().await;
    let (key, secret) = keys.create(&own, "laptop").await.unwrap();
    assert_eq!((key.id.len(), secret.reveal().len()), (20, 40));
    assert!(!format!("{secret:?}{keys:?}").contains(secret.reveal()));
    keys.create(&other, "").await.unwrap();

    let keys = world.keys().await;
    assert_eq!(keys.list(&own), std::slice::from_ref(&key));
    assert_eq!(keys.list_all().len(), 2);
    let found = keys.find(&key.id, None).unwrap();
    assert_eq!(found.0.principal(), Principal::Account(own.clone()));
    assert_eq!((found.0.key, found.1), (Some(key.id.clone()), secret));
    assert!(keys.remove(&other, &key.id).await.is_err(), "not theirs");
    keys.remove(&own, &key.id).await.unwrap();
    assert_eq!(keys.find(&key.id, None), Err(Refused::UnknownKey));
    let again = keys.remove(&own, &key.id).await;
    assert!(matches!(again, Err(Error::NotThere { .. })), "{again:?}");
    assert!(world.keys().await.list(&own).is_empty());
}

#[tokio::test]
async fn an_account_has_so_many_keys_and_no_more() {
    let world = World::new();
    let (keys, own) = (world.keys().await, account("000000000000"));
    for _ in 0..limit::ACCESS_KEYS_MAX {
        keys.create(&own, &"l".repeat(1000)).await.unwrap();
    }
    let more = keys.create(&own, "").await;
    assert!(matches!(more, Err(Error::TooMany { .. })), "{more:?}");
    assert_eq!(keys.list(&own)[0].label.len(), limit::LABEL_CHARS_MAX);
}

#[tokio::test]
async fn sessions_need_no_record_and_end_by_themselves() {
    let world = World::new();
    let given = world.keys().await.issue(&instance(), HOUR);
    // Another node over the same store.
    let keys = world.keys().await;
    let (found, secret) = keys.find(&given.access_key, Some(&given.token)).unwrap();
    assert_eq!((found, &secret), (instance(), &given.secret));
    assert_eq!((given.access_key.len(), secret.reveal().len()), (20, 40));
    assert_eq!(keys.session(&given.token), Ok(instance()));

    let foreign = keys.find("ASIAAAAAAAAAAAAAAAAA", Some(&given.token));
    assert_eq!(foreign, Err(Refused::UnknownKey));
    assert_eq!(keys.find(&given.access_key, None), Err(Refused::UnknownKey));
    world.pass(HOUR);
    assert_eq!(keys.session(&given.token), Err(Refused::Expired));
    let elsewhere = World::new();
    elsewhere.clock.drawn.store(99, Ordering::Relaxed);
    let elsewhere = elsewhere.keys().await.session(&given.token);
    assert_eq!(elsewhere, Err(Refused::InvalidToken));
}

#[tokio::test]
async fn no_change_to_a_token_goes_unnoticed() {
    let world = World::new();
    let keys = world.keys().await;
    let token = keys.issue(&instance(), HOUR).token;
    for at in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert_eq!(keys.session(&changed), Err(Refused::InvalidToken), "{at}");
    }
    for odd in ["", "A", "é", &token[1..], &"A".repeat(10_000)] {
        assert_eq!(keys.session(odd), Err(Refused::InvalidToken), "{odd}");
    }
}

#[tokio::test]
async fn sessions_end_with_their_key_and_all_at_once() {
    let world = World::new();
    let (keys, own) = (world.keys().await, account("000000000000"));
    let (key, _) = keys.create(&own, "").await.unwrap();
    let role = |key: Option<&String>| Identity {
        account: own.clone(),
        key: key.cloned(),
        who: Who::Role {
            role: "r".into(),
            session: "s".into(),
        },
    };
    let by_key = keys.issue(&role(Some(&key.id)), HOUR).token;
    let by_nobody = keys.issue(&role(None), HOUR).token;
    assert_eq!(keys.session(&by_key), Ok(role(Some(&key.id))));
    keys.remove(&own, &key.id).await.unwrap();
    assert_eq!(keys.session(&by_key), Err(Refused::InvalidToken));
    assert_eq!(keys.session(&by_nobody), Ok(role(None)));
    keys.end_sessions().await.unwrap();
    assert_eq!(keys.session(&by_nobody), Err(Refused::InvalidToken));
    let again = world.keys().await.session(&by_nobody);
    assert_eq!(again, Err(Refused::InvalidToken));
}

async fn check_stored(store: &dyn Store, collection: &str, expected: Expected) {
    let records = all(store, collection).await.unwrap();
    let text = records.iter().map(|record| {
        let value = String::from_utf8_lossy(&record.value);
        format!("{} {value}\n", record.key)
    });
    expected.assert_eq(&text.collect::<String>());
}

#[tokio::test]
async fn the_stored_forms_stay() {
    let world = World::new();
    let keys = world.keys().await;
    keys.create(&account("000000000000"), "laptop")
        .await
        .unwrap();
    check_stored(&*world.store, ACCESS_KEYS, expect![[r#"
        AKIAAAAAAAAAAAAACCAJ {"id":"AKIAAAAAAAAAAAAACCAJ","secret":"AAAAAAAAAAIICQoLDA0ODxAREhMUFRYXGBkaGxwd","account":"000000000000","label":"laptop","created_ms":0}
    "#]]).await;
    check_stored(
        &*world.store,
        SESSIONS,
        expect![[r#"
        seal {"secret":"AAAAAAAAAAAICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=","epoch":0}
    "#]],
    )
    .await;
    let token = keys.issue(&instance(), HOUR).token;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token);
    let claims = String::from_utf8(bytes.unwrap().split_off(32)).unwrap();
    expect![[r#"{"v":1,"e":0,"t":3600000,"a":"000000000000","w":"instance","role":"hello-role","region":"us-east-1","function":"hello","instance":"07070707070707070707070707070707","n":"AAAAAAAAAAMICQoLDA0ODw"}"#]].assert_eq(&claims);
}
