//! Programs that run beside the one a jail is for.

use std::os::fd::OwnedFd;

use process::spawner::{Companion, CompanionEnd, Exit, Jail, Order, Status};

use crate::{World, order, read_all, stories, take_output};

stories![
    companions_run_before_the_program_and_after_it,
    a_companion_that_cannot_start_is_told_of,
    a_program_is_asked_to_end,
    nothing_is_left_of_companions,
    companions_have_no_more_than_the_program,
];

fn with_companions(script: &str, companions: &[&str]) -> Order {
    let mut order = order(script);
    let companion = |script: &&str| Companion {
        argv: vec!["/bin/bash".into(), "-c".into(), script.into()],
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        cwd: "/".into(),
    };
    order.companions = companions.iter().map(companion).collect();
    order
}

fn take_theirs(jail: &mut Jail) -> OwnedFd {
    jail.companions_output.take().unwrap()
}

async fn companions_run_before_the_program_and_after_it(world: World) {
    let first = "echo one; sleep 600; echo over";
    let ordered = with_companions("echo program; exit 4", &[first, "echo two"]);
    let mut jail = world.spawner.claim(ordered).await.unwrap();
    let theirs = take_theirs(&mut jail);
    let ended = jail.keeper().companions_ended(0).await;
    let code = |code| Exit {
        status: Status::Code(code),
        out_of_memory: false,
    };
    assert_eq!(ended, [(1, CompanionEnd::Exit(code(0)))]);
    jail.keeper().proceed().await;
    assert_eq!(jail.exited().await, code(4));
    assert_eq!(read_all(take_output(&mut jail)).await, "program\n");
    // The other one waits still, and goes with the jail.
    jail.kill().await;
    let text = read_all(theirs).await;
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["one", "two"]);
}

async fn a_companion_that_cannot_start_is_told_of(world: World) {
    let mut order = with_companions("echo program", &["true", "true"]);
    order.companions[0].argv = vec!["/usr/bin/no-such-program".into()];
    let mut jail = world.spawner.claim(order).await.unwrap();
    let ended = jail.keeper().companions_ended(1).await;
    assert!(
        matches!(&ended[0], (0, CompanionEnd::NotStarted(why)) if why.contains("No such file")),
        "{ended:?}"
    );
    jail.keeper().proceed().await;
    assert_eq!(read_all(take_output(&mut jail)).await, "program\n");
    jail.kill().await;
}

async fn a_program_is_asked_to_end(world: World) {
    let script = "trap 'echo asked; exit 5' TERM; echo ready; while true; do sleep 0.01; done";
    let jail = world.spawner.claim(order(script)).await.unwrap();
    let mut output =
        tokio::net::unix::pipe::Receiver::from_owned_fd(jail.output.try_clone().unwrap()).unwrap();
    let mut ready = [0; 6];
    tokio::io::AsyncReadExt::read_exact(&mut output, &mut ready)
        .await
        .unwrap();
    jail.keeper().terminate().await;
    assert_eq!(jail.exited().await.status, Status::Code(5));
    jail.kill().await;
}

async fn nothing_is_left_of_companions(world: World) {
    let stubborn = "trap '' TERM HUP; (setsid sleep 600 &); while true; do sleep 600; done";
    for proceed in [false, true] {
        let order = with_companions("exit 0", &[stubborn; 10]);
        let jail = world.spawner.claim(order).await.unwrap();
        if proceed {
            jail.keeper().proceed().await;
            assert_eq!(jail.exited().await.status, Status::Code(0));
        }
        // Resolves when processes, mounts and control group are gone.
        jail.kill().await;
    }
    // A whole jail ends with its last program, too.
    let jail = world
        .spawner
        .claim(with_companions("true", &["true"]))
        .await
        .unwrap();
    jail.keeper().proceed().await;
    jail.exited().await;
    jail.keeper().companions_ended(0).await;
    jail.kill().await;
}

async fn companions_have_no_more_than_the_program(world: World) {
    let look = "grep -E 'NoNewPrivs|Seccomp:|CapEff' /proc/self/status; ls -l /proc/self/fd | grep -c socket; \
        (cat /proc/$PPID/environ; echo x > /usr/x) 2>/dev/null";
    let mut jail = world
        .spawner
        .claim(with_companions("true", &[look]))
        .await
        .unwrap();
    let theirs = take_theirs(&mut jail);
    jail.keeper().companions_ended(0).await;
    jail.keeper().proceed().await;
    jail.exited().await;
    jail.kill().await;
    assert_eq!(
        read_all(theirs).await,
        "CapEff:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n0\n"
    );
}
