//! What goes wrong while jails are made or ended, and that nothing is left of it either.

use std::process::{Command, ExitCode};

use process::spawner::{Error, Lite};

use crate::ends::{found, groups_of, helper_with, left_groups, processes_with, until};
use crate::{World, order, scratch, stories, try_launch};

stories![
    nothing_frozen_outlives_a_killed_helper,
    nothing_is_left_where_no_jail_can_be_made,
    a_jail_that_dies_while_it_is_made_is_made_again,
];

async fn nothing_frozen_outlives_a_killed_helper(world: World) {
    let spawner = world.launch(1);
    let jail = spawner.claim(order("exec sleep 4712.1")).await.unwrap();
    let helper = helper_with(found("4712.1").await[0]);
    jail.freeze().await;
    let pid = rustix::process::Pid::from_raw(helper.cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    spawner.shutdown().await;
    until(|| processes_with("4712.1").is_empty()).await;
    assert!(groups_of(helper).is_empty(), "{:?}", groups_of(helper));
}

async fn nothing_is_left_where_no_jail_can_be_made(_: World) {
    let text = Command::new("unshare")
        .args(["--user", "--map-root-user", "sh", "-c"])
        .arg("echo 0 > /proc/sys/user/max_user_namespaces; exec \"$0\" cannot")
        .arg(std::env::current_exe().unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&text.stdout);
    assert!(said.contains("enter new namespaces"), "{text:?}");
    until(|| left_groups().is_empty()).await;
}

async fn a_jail_that_dies_while_it_is_made_is_made_again(world: World) {
    let spawner = world.launch(0);
    // The one that the helper makes when it starts.
    let first = spawner.claim(order("exec sleep 4712.2")).await.unwrap();
    let helper = helper_with(found("4712.2").await[0]);
    let pid = rustix::process::Pid::from_raw(helper.cast_signed());
    let set = |current| {
        let limit = rustix::process::Rlimit {
            current,
            maximum: None,
        };
        rustix::process::prlimit(pid, rustix::process::Resource::As, limit).unwrap()
    };
    // What it has may be used, but a new jail has no room for its first message.
    let before = set(Some(1 << 20));
    let failed = spawner.claim(order("true")).await;
    set(before.current);
    assert!(matches!(failed, Err(Error::Prepare { .. })), "{failed:?}");
    let jail = spawner.claim(order("true")).await.unwrap();
    jail.kill().await;
    drop(first);
    spawner.shutdown().await;
}

/// What is tried where no jail can be made.
pub(crate) async fn cannot() -> ExitCode {
    let folder = scratch("cannot");
    match try_launch(1, Lite::Never, &folder) {
        Ok(_) => println!("it can"),
        Err(error) => println!("{error}"),
    }
    let _ = std::fs::remove_dir_all(folder);
    ExitCode::SUCCESS
}
