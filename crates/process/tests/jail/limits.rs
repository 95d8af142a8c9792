//! What a program may use.

use process::host::CgroupKind;
use process::spawner::{Lite, Status};

use crate::{World, order, stories};

stories![
    memory_is_limited_and_its_end_is_told_apart,
    memory_used_is_told,
    processes_are_limited,
    open_files_are_limited,
    tmp_is_limited,
];

fn limits_memory(world: &World) -> bool {
    world.spawner.host().cgroups != CgroupKind::None
}

pub(crate) async fn memory_is_limited_and_its_end_is_told_apart(world: World) {
    let mut hog = order("exec tail /dev/zero");
    hog.limits.memory_bytes = 64 << 20;
    let (_, exit) = world.run(hog).await;
    if limits_memory(&world) {
        assert_eq!((exit.status, exit.out_of_memory), (Status::Signal(9), true));
    } else {
        assert_ne!(exit.status, Status::Code(0));
    }
    let (_, exit) = world.run(order("kill -9 $$")).await;
    assert_eq!(
        (exit.status, exit.out_of_memory),
        (Status::Signal(9), false)
    );
}

async fn memory_used_is_told(world: World) {
    let script = "head -c 12000000 /dev/zero > /tmp/x; echo; read -r x <&3";
    let mut order = order(script);
    order.control = true;
    let jail = world.spawner.claim(order).await.unwrap();
    let mut output =
        tokio::net::unix::pipe::Receiver::from_owned_fd(jail.output.try_clone().unwrap()).unwrap();
    tokio::io::AsyncReadExt::read_u8(&mut output).await.unwrap();
    let (now, peak) = (jail.memory_bytes(), jail.memory_peak_bytes());
    if limits_memory(&world) {
        assert!(now.unwrap() > 12_000_000, "{now:?}");
        assert!(peak.unwrap() >= now.unwrap(), "{peak:?}");
    } else {
        assert!(now.unwrap() > 0 && peak.unwrap() >= now.unwrap());
    }
    jail.kill().await;
}

pub(crate) async fn processes_are_limited(world: World) {
    // Not bash, which tries again for a quarter of a minute.
    let script = "i=0; while [ $i -lt 100 ]; do i=$((i+1)); sleep 100 & echo made; done";
    let mut bomb = order("");
    bomb.argv = vec!["/bin/sh".into(), "-c".into(), script.into()];
    bomb.limits.processes = 20;
    let (text, exit) = world.run(bomb).await;
    // Without either they are counted with all others of the user, which come and go.
    if world.lite == Lite::Never || limits_memory(&world) {
        assert_ne!(exit.status, Status::Code(0));
        let made = text.matches("made").count();
        assert!((10..=20).contains(&made), "{text}");
    }
    // A bomb in its natural form ends with a kill and harms nobody.
    let script = ":(){ :|:& };: 2>/dev/null; sleep 100";
    let bomb = world.spawner.claim(order(script)).await.unwrap();
    assert_eq!(world.sh("echo fine").await, "fine\n");
    bomb.kill().await;
}

pub(crate) async fn open_files_are_limited(world: World) {
    let mut order = order("ulimit -n; ulimit -Hn; ulimit -n 2000 2>/dev/null || echo kept");
    order.limits.open_files = 100;
    assert_eq!(world.run(order).await.0, "100\n100\nkept\n");
}

async fn tmp_is_limited(world: World) {
    let mut order = order(
        "head -c 3000000 /dev/zero > /tmp/a 2>/dev/null || echo full; stat -c %s /tmp/a; \
         rm /tmp/a; i=0; while : > /tmp/f$i; do i=$((i+1)); done 2>/dev/null; \
         [ $i -lt 1000 ] && echo few",
    );
    order.limits.tmp_bytes = 1 << 20;
    assert_eq!(world.run(order).await.0, "full\n1048576\nfew\n");
}
