//! What is left of a daemon that goes: as root, as an ordinary user and with control groups.

use std::net::TcpListener;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use process::spawner::{Config, Jail, Keep, Kept, Spawner, Visits};
use store::{Clock, SystemClock};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::{World, order, stories};

stories![
    what_was_left_or_is_idle_goes_on_and_all_else_ends,
    a_port_listens_from_one_daemon_to_the_next,
    what_nobody_comes_for_ends,
    a_daemon_that_serves_is_told_of_its_successor,
    one_visitor_at_a_time_is_let_in,
];

/// Long enough for every story.
const GRACE: Duration = Duration::from_secs(60);

impl World {
    fn kept(&self, name: &str) -> PathBuf {
        self.folder.join(format!("kept-{name}"))
    }

    fn keeper(&self, name: &str, grace: Duration) -> Spawner {
        let config = Config {
            program: std::env::current_exe().unwrap(),
            pool: 1,
            booted: 0,
            runtime_dir: self.folder.clone(),
            endpoint_port: 4566,
            host_ports: Vec::new(),
            tell_refused: false,
            trust: None,
            lite: self.lite,
            keep: Some(Keep {
                folder: self.kept(name),
                grace,
            }),
        };
        Spawner::launch(config, clock()).unwrap()
    }

    async fn visit(&self, name: &str) -> Visits {
        Visits::make(&self.kept(name), &*clock()).await.unwrap()
    }

    fn doors(&self, name: &str) -> usize {
        std::fs::read_dir(self.kept(name)).unwrap().count()
    }
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

/// A program that says back what it is told, with what it was told first.
async fn echo(spawner: &Spawner) -> (Jail, UnixStream) {
    let mut order = order("read -u 3 first; while read -u 3 more; do echo $first $more >&3; done");
    order.control = true;
    let mut jail = spawner.claim(order).await.unwrap();
    let control = UnixStream::from_std(jail.control.take().unwrap().socket).unwrap();
    (jail, control)
}

async fn say(control: &mut UnixStream, text: &str) {
    control
        .write_all(format!("{text}\n").as_bytes())
        .await
        .unwrap();
}

async fn hear(control: &mut UnixStream) -> String {
    let mut text = Vec::new();
    while text.last() != Some(&b'\n') {
        text.push(control.read_u8().await.unwrap());
    }
    String::from_utf8(text).unwrap()
}

async fn what_was_left_or_is_idle_goes_on_and_all_else_ends(world: World) {
    let spawner = world.keeper("idle", GRACE);
    let mut all = Vec::new();
    for name in ["left", "idle", "busy", "unknown"] {
        let (jail, mut control) = echo(&spawner).await;
        say(&mut control, name).await;
        if name != "unknown" {
            jail.keeper().note(name.as_bytes()).await;
        }
        all.push((jail, control));
    }
    assert!(all[0].0.keeper().leave(b"left", &[]).await);
    all[1].0.keeper().mark(true);
    all[2].0.keeper().mark(true);
    all[2].0.keeper().mark(false);
    all[3].0.keeper().mark(true);
    spawner.leave();
    drop((all, spawner));

    let visits = world.visit("idle").await;
    assert!(!visits.served);
    let next = world.keeper("idle", GRACE);
    let kept = next.inherit(visits.succeed(clock()).await.unwrap());
    let notes: Vec<_> = kept.iter().map(|kept| kept.note.clone()).collect();
    assert_eq!(notes, [b"left".to_vec(), b"idle".to_vec()]);
    for Kept { mut jail, note, .. } in kept {
        let mut control = UnixStream::from_std(jail.control.take().unwrap().socket).unwrap();
        say(&mut control, "more").await;
        let note = String::from_utf8(note).unwrap();
        assert_eq!(hear(&mut control).await, format!("{note} more\n"));
        jail.freeze().await;
        jail.thaw().await;
        say(&mut control, "again").await;
        assert_eq!(hear(&mut control).await, format!("{note} again\n"));
        jail.kill().await;
    }
    next.shutdown().await;
    assert_eq!(world.doors("idle"), 0);
}

async fn a_port_listens_from_one_daemon_to_the_next(world: World) {
    let spawner = world.keeper("port", GRACE);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    spawner.hold(listener.as_fd()).await;
    // It is held once this is carried out, which comes after.
    let (jail, _control) = echo(&spawner).await;
    drop(listener);
    let waits = std::net::TcpStream::connect(address).unwrap();
    drop(jail);
    spawner.leave();
    let mut visits = world.visit("port").await;
    let listener = visits.listeners.pop().unwrap();
    let inherited = visits.succeed(clock()).await.unwrap();
    assert!(inherited.jails.is_empty());
    let (accepted, _) = listener.accept().unwrap();
    assert_eq!(accepted.peer_addr().unwrap(), waits.local_addr().unwrap());
    drop(listener);
    // Nothing but what was handed on listens there.
    assert!(std::net::TcpStream::connect(address).is_err());
}

async fn what_nobody_comes_for_ends(world: World) {
    let spawner = world.keeper("nobody", Duration::from_millis(50));
    let (jail, mut control) = echo(&spawner).await;
    jail.keeper().note(b"note").await;
    assert!(jail.keeper().leave(b"note", &[]).await);
    spawner.leave();
    drop(jail);
    // Its end is that of the program at the other end.
    let mut rest = Vec::new();
    control.read_to_end(&mut rest).await.unwrap();
    while world.doors("nobody") > 0 {
        tokio::task::yield_now().await;
    }
    assert!(world.visit("nobody").await.is_empty());
}

async fn a_daemon_that_serves_is_told_of_its_successor(world: World) {
    let spawner = world.keeper("serves", GRACE);
    let (jail, mut control) = echo(&spawner).await;
    say(&mut control, "one").await;
    let visits = world.visit("serves").await;
    assert!(visits.served);
    let succeeding = tokio::spawn(visits.succeed(clock()));
    spawner.succeeded().await;
    // Until it has gone everything is as it was.
    say(&mut control, "more").await;
    assert_eq!(hear(&mut control).await, "one more\n");
    assert!(!succeeding.is_finished());
    assert!(jail.keeper().leave(b"one", &[]).await);
    spawner.leave();
    let mut inherited = succeeding.await.unwrap().unwrap();
    let kept = inherited.jails.pop().unwrap();
    assert_eq!(kept.note, b"one");
    // The one that succeeds can be succeeded.
    let next = world.keeper("serves", GRACE);
    assert!(next.inherit(inherited).is_empty());
    assert!(kept.jail.keeper().leave(b"two", &[]).await);
    let visits = world.visit("serves").await;
    let succeeding = tokio::spawn(visits.succeed(clock()));
    next.succeeded().await;
    next.leave();
    let inherited = succeeding.await.unwrap().unwrap();
    assert_eq!(inherited.jails[0].note, b"two");
    let last = world.keeper("serves", GRACE);
    last.inherit(inherited);
    last.shutdown().await;
    assert_eq!(world.doors("serves"), 0);
}

async fn one_visitor_at_a_time_is_let_in(world: World) {
    let spawner = world.keeper("visitors", GRACE);
    let first = world.visit("visitors").await;
    let second = Visits::make(&world.kept("visitors"), &*clock()).await;
    let words = second.unwrap_err().to_string();
    assert!(words.contains("another start"), "{words}");
    drop(first);
    // It is noticed that the first has gone.
    loop {
        let third = Visits::make(&world.kept("visitors"), &*clock()).await;
        if third.is_ok_and(|visits| visits.served) {
            break;
        }
    }
    // A daemon that ends all leaves nothing, whoever waits.
    let waiting = tokio::spawn(world.visit("visitors").await.succeed(clock()));
    spawner.succeeded().await;
    spawner.shutdown().await;
    assert!(waiting.await.unwrap().is_err());
    assert_eq!(world.doors("visitors"), 0);
}
