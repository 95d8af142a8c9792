//! The network of a jail: what in it leads to the platform and to this host, and what does not.

use std::net::TcpListener;
use std::sync::Arc;

use process::spawner::{Config, Jail, Spawner};
use tokio::io::AsyncWriteExt as _;

use crate::{World, finish, order, stories};

stories![
    the_platform_is_at_every_address_of_loopback,
    the_ports_of_the_platform_cannot_be_taken,
    ports_of_this_host_lead_out_and_no_others_do,
    refused_connections_stay_refused_and_are_told_of,
    certificates_to_trust_are_there_and_nothing_beside_them,
    a_jail_that_may_not_go_out_has_names_all_the_same,
];

/// A spawner of the same kind with more in its jails.
fn launch(world: &World, change: impl FnOnce(&mut Config)) -> Spawner {
    let mut config = Config {
        program: std::env::current_exe().unwrap(),
        pool: 1,
        booted: 0,
        runtime_dir: world.folder.clone(),
        endpoint_port: 4566,
        host_ports: Vec::new(),
        tell_refused: false,
        trust: None,
        keep: None,
        lite: world.lite,
    };
    change(&mut config);
    Spawner::launch(config, Arc::new(store::SystemClock::new())).unwrap()
}

/// Says a word to whoever comes to a listener next.
async fn greet(listener: &TcpListener, word: &str) {
    let listener = tokio::net::TcpListener::from_std(listener.try_clone().unwrap()).unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    stream.write_all(word.as_bytes()).await.unwrap();
}

async fn the_platform_is_at_every_address_of_loopback(world: World) {
    let places = "127.0.0.1/4566 127.0.0.1/80 127.0.0.2/443 127.9.9.9/80 127.0.0.2/4566";
    let script =
        format!("for p in {places}; do exec 5<>/dev/tcp/$p && read -r x <&5; echo $x; done");
    let jail = world.spawner.claim(order(&script)).await.unwrap();
    let [endpoint, http, https] = &jail.doors.home[..] else {
        panic!("{:?}", jail.doors)
    };
    for (listener, word) in [
        (endpoint, "a\n"),
        (http, "b\n"),
        (https, "c\n"),
        (http, "d\n"),
        (endpoint, "e\n"),
    ] {
        greet(listener, word).await;
    }
    assert_eq!(finish(jail).await.0, "a\nb\nc\nd\ne\n");
    // Where two of them are one.
    for port in [80, 443] {
        let spawner = launch(&world, |config| config.endpoint_port = port);
        let jail = spawner.claim(order("true")).await.unwrap();
        assert_eq!(jail.doors.home.len(), 2);
        finish(jail).await;
        spawner.shutdown().await;
    }
}

async fn the_ports_of_the_platform_cannot_be_taken(world: World) {
    let script = r#"
import socket
for place in ("127.0.0.1", 443), ("127.0.0.2", 4566), ("127.0.0.3", 80), ("0.0.0.0", 4566), ("127.0.0.1", 53), ("127.0.0.5", 79):
    for reuse in socket.SO_REUSEADDR, socket.SO_REUSEPORT:
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, reuse, 1)
        try:
            s.bind(place); s.listen(); print("took", *place)
        except OSError: pass
print("tried")
"#;
    let Some(python) = ["/usr/bin/python3", "/usr/local/bin/python3"]
        .into_iter()
        .find(|path| std::path::Path::new(path).exists())
    else {
        return;
    };
    let mut order = order("");
    order.argv = vec![python.into(), "-c".into(), script.into()];
    assert_eq!(world.run(order).await.0, "tried\n");
}

async fn ports_of_this_host_lead_out_and_no_others_do(world: World) {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = other.local_addr().unwrap().port();
    let spawner = launch(&world, |config| config.host_ports = vec![5432, 6379]);
    let script = format!(
        "for p in 6379 5432 {other}; do exec 5<>/dev/tcp/127.0.0.1/$p && read -r x <&5; echo $x; \
         x=; done 2>/dev/null"
    );
    let jail = spawner.claim(order(&script)).await.unwrap();
    let [first, second] = &jail.doors.host_ports[..] else {
        panic!("{:?}", jail.doors)
    };
    greet(second, "second\n").await;
    greet(first, "first\n").await;
    assert_eq!(finish(jail).await.0, "second\nfirst\n\n");
    spawner.shutdown().await;
}

/// What the kernel has told of a jail's refused connections, in bytes.
fn told(jail: &Jail) -> usize {
    let socket = jail.doors.refusals.as_ref().unwrap();
    let mut buffer = [0; 4096];
    let mut all = 0;
    while let Ok((length, _)) =
        rustix::net::recv(socket, &mut buffer[..], rustix::net::RecvFlags::DONTWAIT)
    {
        all += length;
    }
    all
}

async fn refused_connections_stay_refused_and_are_told_of(world: World) {
    let spawner = launch(&world, |config| config.tell_refused = true);
    let refused =
        "(exec 5<>/dev/tcp/127.0.0.1/5432) 2>&1 | grep -om1 'Connection refused' | head -n1";
    // What is served, goes outside or breaks off is none of it.
    let others = "exec 5<>/dev/tcp/127.0.0.1/9001; exec 5>&-; \
                  (exec 5<>/dev/tcp/192.0.2.1/80) 2>/dev/null; echo no more";
    for (script, said, is_told) in [
        (refused, "Connection refused\n", true),
        (others, "no more\n", false),
    ] {
        let jail = spawner.claim(order(script)).await.unwrap();
        let text = crate::read_all(jail.output.try_clone().unwrap()).await;
        assert_eq!(text, said);
        assert_eq!(told(&jail) > 0, is_told, "{script}");
        finish(jail).await;
    }
    spawner.shutdown().await;
    let jail = world.spawner.claim(order("true")).await.unwrap();
    assert!(jail.doors.refusals.is_none());
    finish(jail).await;
}

async fn certificates_to_trust_are_there_and_nothing_beside_them(world: World) {
    let trust = world.folder.join("trust");
    std::fs::create_dir_all(&trust).unwrap();
    for name in ["ca.pem", "ca-bundle.pem", "key.pem"] {
        std::fs::write(trust.join(name), format!("{name} ")).unwrap();
    }
    let spawner = launch(&world, |config| config.trust = Some(trust));
    let script = "cd /etc/dayfly; echo *; cat * /var/runtime/ca-cert.pem; echo; \
                  (echo x > ca.pem || echo x > /var/runtime/ca-cert.pem) 2>/dev/null || echo kept";
    let jail = spawner.claim(order(script)).await.unwrap();
    assert_eq!(
        finish(jail).await.0,
        "ca-bundle.pem ca.pem\nca-bundle.pem ca.pem ca.pem \nkept\n"
    );
    spawner.shutdown().await;
    assert_eq!(world.sh("ls -d /etc/dayfly 2>/dev/null; true").await, "");
}

async fn a_jail_that_may_not_go_out_has_names_all_the_same(world: World) {
    let jail = world.spawner.claim(order("true")).await.unwrap();
    assert!(jail.doors.egress.is_none());
    assert!(jail.doors.dns.is_some() && jail.doors.dns_tcp.is_some());
    finish(jail).await;
}
