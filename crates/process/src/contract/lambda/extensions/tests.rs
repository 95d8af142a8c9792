//! Who may do what when.

use super::*;

fn about() -> About {
    About {
        function: "greet".to_owned(),
        version: "$LATEST".to_owned(),
        handler: "app.handler".to_owned(),
        account: "000000000000".to_owned(),
    }
}

fn extensions(external: &[&str]) -> Arc<Extensions> {
    let names: Vec<_> = external.iter().map(|&name| name.to_owned()).collect();
    let clock = Arc::new(store::SystemClock::new());
    let telemetry = Telemetry::new(Vec::new(), false, clock.clone());
    Extensions::new(about(), &names, telemetry, clock)
}

fn register(extensions: &Extensions, name: &str, events: &[&str]) -> Result<String, &'static str> {
    let events: Vec<_> = events.iter().map(|&event| event.to_owned()).collect();
    let registered = extensions.register(name, &events);
    registered.map_err(|refusal| refusal.error_type)
}

#[test]
fn registering_has_rules() {
    let extensions = extensions(&["own"]);
    let check = |name: &str, events: &[&str], expected: &str| {
        let seen = register(&extensions, name, events);
        assert_eq!(seen.err().unwrap_or("ok"), expected, "{name} {events:?}");
    };
    check("own", &["INVOKE", "NOTHING"], "Extension.InvalidEventType");
    check("inside", &["SHUTDOWN"], "Extension.InvalidEventType");
    check("own", &["INVOKE", "SHUTDOWN", "INVOKE"], "ok");
    check("own", &[], "Extension.InvalidExtensionState");
    check("inside", &["INVOKE"], "ok");
    check("inside", &["INVOKE"], "Extension.InvalidExtensionState");
    for number in 0..8 {
        check(&number.to_string(), &[], "ok");
    }
    check("one more", &[], "Extension.TooManyExtensions");
    extensions.close_registration();
    check("late", &[], "Extension.RegistrationClosed");
}

#[tokio::test]
async fn an_event_is_taken_once_and_waited_for() {
    let extensions = extensions(&["own"]);
    let unknown = "00000000-0000-4000-8000-000000000000";
    let refused = extensions.next(unknown).await.unwrap_err().error_type;
    assert_eq!(refused, "Extension.UnknownExtensionIdentifier");
    let id = register(&extensions, "own", &["INVOKE", "SHUTDOWN"]).unwrap();
    extensions.registered().await;
    let asked = {
        let (extensions, id) = (Arc::clone(&extensions), id.clone());
        tokio::spawn(async move { extensions.next(&id).await })
    };
    extensions.ready().await;
    let twice = extensions.next(&id).await.unwrap_err();
    assert_eq!(twice.error_type, "Extension.InvalidExtensionState");
    extensions.give(Event::Invoke, "one");
    assert_eq!(asked.await.unwrap().unwrap(), "one");
    let standing = extensions.standing();
    assert_eq!(standing[0].state, "Running");
    // What is given while it works is there when it asks.
    extensions.give(Event::Shutdown, "end");
    assert_eq!(extensions.next(&id).await.unwrap(), "end");
}

#[tokio::test]
async fn one_that_hung_up_may_ask_again() {
    let extensions = extensions(&["own"]);
    let id = register(&extensions, "own", &["INVOKE"]).unwrap();
    tokio::select! {
        biased;
        _ = extensions.next(&id) => panic!("nothing was given"),
        () = extensions.ready() => {}
    }
    extensions.give(Event::Invoke, "one");
    assert_eq!(extensions.next(&id).await.unwrap(), "one");
}

#[tokio::test]
async fn what_it_says_first_is_why_it_fails() {
    let extensions = extensions(&["own", "other"]);
    let id = register(&extensions, "own", &[]).unwrap();
    assert!(
        extensions
            .report(&id, Fatal::Init, "Extension.Mine")
            .is_ok()
    );
    assert!(extensions.report(&id, Fatal::Init, "again").is_ok());
    let late = extensions.report(&id, Fatal::Exit, "late").unwrap_err();
    assert_eq!(late.error_type, "Extension.InvalidExtensionState");
    assert_eq!(extensions.failed().await, Fatal::Init);
    assert_eq!(extensions.ended(0, true), Fatal::Init);
    assert_eq!(extensions.ended(1, false), Fatal::Init);
    let standing = extensions.standing();
    let shown: Vec<_> = (standing.iter().map(|one| one.state.as_str())).collect();
    assert_eq!(shown, ["InitError", "LaunchError"]);
    assert_eq!(standing[0].error_type.as_deref(), Some("Extension.Mine"));
}

#[test]
fn layers_bring_programs_in_the_order_of_names() {
    let folder = std::env::temp_dir().join(format!("dayfly-extensions-{}", std::process::id()));
    let layers = [folder.join("a"), folder.join("b")];
    for (layer, name) in [(0, "two"), (0, "both"), (1, "both"), (1, "one")] {
        let place = layers[layer].join("extensions");
        std::fs::create_dir_all(place.join("lib")).unwrap();
        std::fs::write(place.join(name), "").unwrap();
    }
    let found = find(&[layers.to_vec(), vec![folder.join("none")]].concat());
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(found, ["both", "one", "two"]);
}
