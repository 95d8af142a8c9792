//! Folders of files that functions share.

use std::time::Duration;

use engine::Error;
use engine::verb::{Expected, LayerPublication, Statement};
use model::{LayerId, LayerVersionId, Principal};

use crate::world::{World, function, owner};

fn layer() -> LayerId {
    let like = function("hello");
    LayerId {
        account: like.account,
        region: like.region,
        name: "tools".parse().unwrap(),
    }
}

fn version(number: u64) -> LayerVersionId {
    LayerVersionId {
        layer: layer(),
        number,
    }
}

async fn publish(world: &World, code: u32) -> u64 {
    let publication = LayerPublication {
        layer: layer(),
        code: world.code(code),
        description: "tools".into(),
        license: None,
        runtimes: vec!["python3.12".into()],
        architectures: Vec::new(),
    };
    let published = world.engine().publish_layer(&owner(), publication).await;
    published.unwrap().id.number
}

#[test]
fn versions_are_kept_and_numbers_are_never_given_twice() {
    let mut world = World::new();
    world.run(async {
        assert_eq!(publish(&world, 1).await, 1);
        assert_eq!(publish(&world, 2).await, 2);
        world
            .engine()
            .remove_layer(&owner(), &version(2))
            .await
            .unwrap();
        world
            .engine()
            .remove_layer(&owner(), &version(2))
            .await
            .unwrap();
    });
    world.crash();
    world.run(async {
        assert_eq!(publish(&world, 3).await, 3);
        let versions = world.engine().layer_versions(&owner(), &layer()).unwrap();
        let numbers: Vec<u64> = versions.iter().map(|it| it.id.number).collect();
        assert_eq!(numbers, [3, 1]);
        let gone = world.engine().layer(&owner(), &version(2));
        assert!(matches!(gone, Err(Error::NotThere { .. })));
        let id = layer();
        let newest = world.engine().layers(&id.account, &id.region);
        assert_eq!(newest.len(), 1);
        assert_eq!(newest[0].id.number, 3);
    });
}

#[test]
fn a_layer_is_its_accounts_until_it_is_shared() {
    let world = World::new();
    world.run(async {
        publish(&world, 1).await;
        let stranger = Principal::Account("123456789012".parse().unwrap());
        let engine = world.engine();
        assert!(matches!(
            engine.layer(&stranger, &version(1)),
            Err(Error::NotAllowed { .. })
        ));
        let statement = Statement {
            id: "all".into(),
            text: r#"{"Effect":"Allow","Principal":"*","Action":"lambda:GetLayerVersion"}"#.into(),
        };
        let permit = |who| engine.permit_layer(who, &OWN, Expected::Anything, statement.clone());
        assert!(permit(&stranger).await.is_err());
        permit(&owner()).await.unwrap();
        assert!(engine.layer(&stranger, &version(1)).is_ok());
        engine
            .forbid_layer(&owner(), &version(1), Expected::Anything, "all")
            .await
            .unwrap();
        assert!(engine.layer(&stranger, &version(1)).is_err());
    });
}

static OWN: std::sync::LazyLock<LayerVersionId> = std::sync::LazyLock::new(|| version(1));

#[test]
fn code_of_layers_is_not_swept_away_and_that_of_removed_ones_is() {
    let world = World::new();
    world.run(async {
        publish(&world, 1).await;
        let swept = |count| {
            let world = &world;
            async move {
                world.clock.advance(Duration::from_secs(60)).await;
                world.wait_for(|| world.trees_kept() == count).await;
            }
        };
        world.function("hello").await;
        world.deploy("hello", world.deployment(2)).await;
        swept(2).await;
        world
            .engine()
            .remove_layer(&owner(), &version(1))
            .await
            .unwrap();
        swept(1).await;
    });
}
