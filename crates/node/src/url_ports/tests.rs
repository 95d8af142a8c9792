//! Ports of function URLs while a node lives and stops, functions being closures.

use gateway::listen::{Limits, Server};

use super::*;
use crate::fixture::{Fixture, echo};
use crate::front::Service;
use crate::stop::Stop;

fn ports(fixture: &Fixture, stop: &Stop) -> UrlPorts {
    ports_after(4566, fixture, stop)
}

fn ports_after(main: u16, fixture: &Fixture, stop: &Stop) -> UrlPorts {
    let service: Service =
        Box::new(|_| Box::pin(async { http::Response::new(gateway::full("here")) }));
    let server = Server::new(service, Limits::default(), Arc::clone(&fixture.clock));
    UrlPorts::new(
        fixture.engine.clone(),
        "000000000000".parse().unwrap(),
        SocketAddr::from(([127, 0, 0, 1], main)),
        server,
        Default::default(),
        tokio::sync::watch::Sender::new(0),
        stop.stopping(),
    )
}

#[tokio::test]
async fn a_url_is_open_until_the_node_stops_and_none_is_opened_after_that() {
    let fixture = Fixture::new(echo).await;
    fixture.deploy(fixture.deployment()).await;
    let stop = Stop::new();
    let urls = ports(&fixture, &stop);
    assert_eq!(urls.reconcile().await, Vec::new());
    let port = *urls.shared.table.load().keys().next().unwrap();
    let connect = || tokio::net::TcpStream::connect(("127.0.0.1", port));
    let _idle = connect().await.unwrap();
    stop.give();
    // What was being opened when the sign was given sees it all the same.
    urls.ended().await;
    assert!(connect().await.is_err());
    assert_eq!(urls.reconcile().await, Vec::new());
    assert!(urls.shared.ports.lock().await.open.is_empty());
}

#[tokio::test]
async fn each_url_keeps_a_port_of_its_own() {
    let fixture = Fixture::new(echo).await;
    fixture.deploy(fixture.deployment()).await;
    let stop = Stop::new();
    let urls = ports(&fixture, &stop);
    urls.reconcile().await;
    let first = urls.shared.table.load_full();
    stop.give();
    urls.ended().await;
    let stop = Stop::new();
    let urls = ports(&fixture, &stop);
    urls.reconcile().await;
    assert_eq!(*urls.shared.table.load_full(), *first);
}

#[tokio::test]
async fn ports_are_given_in_the_order_of_names() {
    let fixture = Fixture::new(echo).await;
    let stop = Stop::new();
    // Where no other test looks for ports.
    let urls = ports_after(24566, &fixture, &stop);
    let hello = crate::fixture::hello();
    let named = |name: &str| FunctionId {
        name: name.parse().unwrap(),
        ..hello.clone()
    };
    let (first, last) = (named("a"), named("z"));
    let all = BTreeSet::from([last.clone(), hello.clone(), first.clone()]);
    urls.reserve(&all).await;
    let reserved = urls.shared.ports.lock().await.reserved.clone();
    assert!(reserved[&first] < reserved[&hello] && reserved[&hello] < reserved[&last]);
    fixture.deploy(fixture.deployment()).await;
    urls.reconcile().await;
    let view = fixture.engine.find(&hello.unqualified()).unwrap();
    let url = view.url.clone().unwrap();
    assert_eq!(url.port, Some(reserved[&hello]));
    // Again, and with one more.
    let more = named("b");
    urls.reserve(&all.into_iter().chain([more.clone()]).collect())
        .await;
    let again = urls.shared.ports.lock().await.reserved.clone();
    for id in [first, last] {
        assert_eq!(again[&id], reserved[&id]);
        assert_ne!(again[&id], again[&more]);
    }
}

#[tokio::test]
async fn a_url_whose_port_is_taken_has_another_until_the_node_ends() {
    let fixture = Fixture::new(echo).await;
    fixture.deploy(fixture.deployment()).await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = taken.local_addr().unwrap().port();
    let hello = crate::fixture::hello();
    fixture.engine.set_url_port(&hello, own).await.unwrap();
    let url = || {
        let view = fixture.engine.find(&hello.unqualified()).unwrap();
        view.url.clone().unwrap()
    };
    let stop = Stop::new();
    let urls = ports(&fixture, &stop);
    let told = urls.reconcile().await;
    let now = urls.port_of(&url()).unwrap();
    assert_ne!(now, own);
    let text = format!("port {own} is taken; its URL is at port {now} for this run");
    assert_eq!(told, [(hello.clone(), text)]);
    assert_eq!(urls.reconcile().await, Vec::new());
    assert_eq!(url().port, Some(own));
    stop.give();
    urls.ended().await;
    drop(taken);
    let stop = Stop::new();
    let urls = ports(&fixture, &stop);
    assert_eq!(urls.reconcile().await, Vec::new());
    assert_eq!(urls.port_of(&url()), Some(own));
}
