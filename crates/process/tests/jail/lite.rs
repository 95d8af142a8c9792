//! What is left of the promises where there are no jails.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use process::host::Isolation;
use process::spawner::{Bind, Status};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::ends::{parent_of, processes_with, until};
use crate::limits::{
    memory_is_limited_and_its_end_is_told_apart, open_files_are_limited, processes_are_limited,
};
use crate::{World, order, read_all, stories};

stories![
    the_host_is_told_to_be_lite,
    other_files_are_out_of_reach,
    other_processes_are_out_of_reach,
    only_scratch_can_be_written,
    no_right_is_left_and_no_descriptor,
    names_lead_to_the_real_places,
    layers_lie_over_each_other,
    the_runtime_api_is_at_a_port_of_its_own,
    files_are_limited_in_size,
    nothing_is_left_of_what_was_written,
    what_a_killed_first_process_leaves_is_ended,
    what_has_no_place_is_refused,
    memory_is_limited_and_its_end_is_told_apart,
    processes_are_limited,
    open_files_are_limited,
];

#[track_caller]
fn has(text: &str, part: &str) {
    assert!(text.contains(part), "{part:?} is not in {text:?}");
}

fn file(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// What instances have written and not removed.
fn left(world: &World) -> Vec<String> {
    let bases = std::fs::read_dir(world.folder.join("lite")).into_iter();
    let folders = bases.flatten().flatten().flat_map(|base| {
        let own = std::fs::read_dir(base.path()).into_iter().flatten();
        own.flatten().map(|entry| entry.path())
    });
    // Those that wait to be claimed have written nothing yet.
    folders.map(|path| path.display().to_string()).collect()
}

async fn the_host_is_told_to_be_lite(world: World) {
    let host = world.spawner.host();
    assert_eq!(host.isolation, Isolation::Lite);
    assert_eq!(host.reason.as_deref(), Some("it was asked for"));
}

async fn other_files_are_out_of_reach(world: World) {
    let secret = world.folder.join("home/.aws/credentials");
    file(&secret, "secret");
    let secret = secret.display();
    let folder = world.folder.display();
    let text = world
        .sh(&format!(
            "(cat {secret}; cat < {secret}; ln {secret} $TMPDIR/hard; ln -s {secret} \
             $TMPDIR/soft; cat $TMPDIR/soft; ls {folder}; ls /; ls /home; ls /root; ls /tmp; \
             cat /etc/shadow; ls /etc; ls /sys) 2>/dev/null; echo end; cat /etc/hosts | wc -c"
        ))
        .await;
    assert!(text.starts_with("end\n") && text != "end\n0\n", "{text}");
}

async fn other_processes_are_out_of_reach(world: World) {
    let daemon = std::process::id();
    let text = world
        .sh(&format!(
            "cat /proc/{daemon}/environ /proc/{daemon}/maps 2>/dev/null; \
             readlink /proc/{daemon}/fd/* /proc/{daemon}/exe /proc/$PPID/fd/* 2>/dev/null; \
             for p in {daemon} $PPID; do kill -0 $p 2>/dev/null && echo reached; done; \
             sleep 100 & kill $! && echo own"
        ))
        .await;
    assert_eq!(text, "own\n");
    let socket = world.folder.join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let mut connect = order("");
    let script = format!(
        "import socket\ntry:\n    socket.socket(socket.AF_UNIX).connect({:?})\n    \
         print('connected')\nexcept OSError as e: print('refused')\n\
         socket.socketpair()[0].close()",
        socket
    );
    connect.argv = vec!["/usr/bin/python3".into(), "-c".into(), script.into()];
    assert_eq!(world.run(connect).await.0, "refused\n");
}

async fn only_scratch_can_be_written(world: World) {
    let code = world.folder.join("lite-code");
    file(&code.join("app"), "original");
    let mut order = order(&format!(
        "for f in /x /usr/x /tmp/x /dev/shm/x {}/x $LAMBDA_TASK_ROOT/x $LAMBDA_TASK_ROOT/app \
           $TMPDIR/../x $TMPDIR/../var/runtime/x; do echo changed > $f && echo wrote $f; \
         done 2>/dev/null; rm -f $LAMBDA_TASK_ROOT/app 2>/dev/null; \
         cp /usr/bin/true $TMPDIR/t; chmod +x $TMPDIR/t; $TMPDIR/t 2>/dev/null && echo ran; \
         echo fine > $TMPDIR/x; cat $TMPDIR/x",
        world.folder.display()
    ));
    order.binds = vec![Bind {
        source: code.clone(),
        target: "/var/task".into(),
    }];
    let (text, _) = world.run(with_names(order)).await;
    assert_eq!(text, "fine\n");
    let app = std::fs::read_to_string(code.join("app")).unwrap();
    assert_eq!(app, "original");
}

/// With the names that a function gets of a jail's places.
fn with_names(mut order: process::spawner::Order) -> process::spawner::Order {
    order.env.extend(
        [
            ("TMPDIR", "/tmp"),
            ("LAMBDA_TASK_ROOT", "/var/task"),
            ("LIST", "/var/lang/lib:/usr/lib:/opt/lib:/var/task/lib:x"),
            ("LINK", "http://a/opt/b"),
        ]
        .map(|(name, value)| (name.into(), value.into())),
    );
    order
}

async fn no_right_is_left_and_no_descriptor(world: World) {
    let text = world
        .sh(
            "grep -E 'Cap(Prm|Eff|Bnd|Amb|Inh)|NoNewPrivs|Seccomp:' /proc/self/status; ulimit -c; \
             cd /proc/self/fd; for f in *; do readlink $f; done",
        )
        .await;
    // The bounding set is emptied by who may: only root has rights to lose.
    let lost = if rustix::process::getuid().is_root() {
        5
    } else {
        4
    };
    assert_eq!(text.matches("0000000000000000").count(), lost, "{text}");
    has(&text, "NoNewPrivs:\t1\nSeccomp:\t2\n0\n/dev/null\npipe:");
    let lines = text.lines().filter(|line| line.starts_with("pipe:"));
    assert_eq!(lines.count(), 2, "{text}");
    assert!(!text.contains("socket:"), "{text}");
}

async fn names_lead_to_the_real_places(world: World) {
    let folder = world.folder.join("lite-places");
    file(&folder.join("code/app"), "code ");
    file(&folder.join("tool/run"), "tool ");
    let mut order = order(
        "cat app $LAMBDA_TASK_ROOT/app $1 $2 $3; echo; pwd; echo $LIST; echo $LINK; echo $TMPDIR",
    );
    order.argv.push("-".into());
    for path in ["/a/b/run", "/var/lang/bin/link", "/var/runtime/made"] {
        order.argv.push(path.into());
    }
    order.binds = vec![
        Bind {
            source: folder.join("code"),
            target: "/var/task".into(),
        },
        Bind {
            source: folder.join("tool"),
            target: "/a/b".into(),
        },
    ];
    let linked = folder.join("tool/run");
    order.links = vec![("/var/lang/bin/link".into(), linked)];
    order.files = vec![("/var/runtime/made".into(), b"made".to_vec())];
    let (text, _) = world.run(with_names(order)).await;
    let code = folder.join("code").display().to_string();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("code code tool tool made"), "{text}");
    assert_eq!(lines.next(), Some(code.as_str()));
    let list: Vec<_> = lines.next().unwrap().split(':').collect();
    let tmp = lines.nth(1).unwrap();
    let own = tmp.strip_suffix("/tmp").unwrap();
    assert_eq!(
        list,
        [
            format!("{own}/var/lang/lib").as_str(),
            "/usr/lib",
            &format!("{own}/opt/lib"),
            &format!("{code}/lib"),
            "x"
        ]
    );
    has(&text, "\nhttp://a/opt/b\n");
    assert!(own.starts_with(world.folder.to_str().unwrap()), "{own}");
}

async fn layers_lie_over_each_other(world: World) {
    let folder = world.folder.join("lite-layers");
    for (path, text) in [
        ("1/only1/a", "a1 "),
        ("1/both/deep/a", "a1 "),
        ("1/both/a", "lost "),
        ("1/file", "lost "),
        ("2/both/a", "a2 "),
        ("2/both/deep/b", "b2 "),
        ("2/file/now", "folder "),
        ("3/both/deep/b", "b3 "),
    ] {
        file(&folder.join(path), text);
    }
    let mut order = order(
        "cd $ROOT; cat only1/a both/deep/a both/a both/deep/b file/now; cd $LAMBDA_TASK_ROOT",
    );
    order.env.push(("ROOT".into(), "/opt".into()));
    let sources = ["1", "2", "3"].map(|name| folder.join(name)).to_vec();
    order.overlays = vec![("/opt".into(), sources)];
    let (text, _) = world.run(with_names(order)).await;
    assert_eq!(text, "a1 a1 a2 b3 folder ");
    assert_eq!(
        std::fs::read_to_string(folder.join("1/both/a")).unwrap(),
        "lost "
    );
}

async fn the_runtime_api_is_at_a_port_of_its_own(world: World) {
    let mut order = order("a=${API%%/*}; exec 5<>/dev/tcp/${a/:/\\/}; read -r x <&5; echo $x $API");
    order.env.push(("API".into(), "127.0.0.1:9001/word".into()));
    let jail = world.spawner.claim(order).await.unwrap();
    assert!(jail.doors.home.is_empty() && jail.doors.egress.is_none());
    let door = jail.doors.runtime_api.try_clone().unwrap();
    let door = tokio::net::TcpListener::from_std(door).unwrap();
    let address = door.local_addr().unwrap();
    let (mut stream, _) = door.accept().await.unwrap();
    stream.write_all(b"api\n").await.unwrap();
    let text = read_all(jail.output.try_clone().unwrap()).await;
    assert_eq!(text, format!("api {address}/word\n"));
}

async fn files_are_limited_in_size(world: World) {
    let mut order = order(
        "head -c 3000000 /dev/zero > $TMPDIR/a 2>/dev/null || echo full; stat -c %s $TMPDIR/a",
    );
    order.limits.tmp_bytes = 1 << 20;
    let (text, _) = world.run(with_names(order)).await;
    assert_eq!(text, "full\n1048576\n");
}

async fn nothing_is_left_of_what_was_written(world: World) {
    let script = "mkdir -p $TMPDIR/a/b; echo x > $TMPDIR/a/b/c; chmod 0 $TMPDIR/a/b $TMPDIR/a; \
                  echo $TMPDIR; exec sleep 100";
    let jail = world
        .spawner
        .claim(with_names(order(script)))
        .await
        .unwrap();
    let output = jail.output.try_clone().unwrap();
    let mut output = tokio::net::unix::pipe::Receiver::from_owned_fd(output).unwrap();
    let mut path = vec![0; 4096];
    let length = output.read(&mut path).await.unwrap();
    let tmp = String::from_utf8(path[..length].to_vec()).unwrap();
    let tmp = Path::new(tmp.trim());
    let mode = std::fs::metadata(tmp.parent().unwrap()).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o700);
    jail.kill().await;
    assert!(!tmp.parent().unwrap().exists(), "{:?}", left(&world));
}

async fn what_a_killed_first_process_leaves_is_ended(world: World) {
    let script = "trap '' TERM HUP; (setsid sleep 4712.1 &); sleep 4712.1 & echo $TMPDIR; wait";
    let jail = world
        .spawner
        .claim(with_names(order(script)))
        .await
        .unwrap();
    let mut first = None;
    until(|| {
        let both = processes_with("4712.1").into_iter().map(first_above);
        first = match both.collect::<Vec<_>>()[..] {
            [Some(one), Some(other)] if one == other => Some(one),
            _ => None,
        };
        first.is_some()
    })
    .await;
    let first = rustix::process::Pid::from_raw(first.unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(first, rustix::process::Signal::KILL).unwrap();
    assert_eq!(jail.exited().await.status, Status::Signal(9));
    let tmp = read_all(jail.output.try_clone().unwrap()).await;
    jail.kill().await;
    assert!(processes_with("4712.1").is_empty());
    assert!(!Path::new(tmp.trim()).exists(), "{tmp}");
}

/// The first process of the instance that this process is in: the helper's child. None while
/// one in between ends.
fn first_above(mut pid: u32) -> Option<u32> {
    while pid > 1 {
        if parent_of(parent_of(pid)) == std::process::id() {
            return Some(pid);
        }
        pid = parent_of(pid);
    }
    None
}

async fn what_has_no_place_is_refused(world: World) {
    let mut odd = order("");
    odd.files = vec![("/usr/x".into(), b"x".to_vec())];
    let error = world.spawner.claim(odd).await.unwrap_err().to_string();
    has(
        &error,
        "/usr/x: only a sandbox of its own has a place for it",
    );
    let mut missing = order("");
    missing.argv = vec!["/usr/bin/no-such-program".into()];
    let error = world.spawner.claim(missing).await.unwrap_err().to_string();
    has(&error, "/usr/bin/no-such-program: No such file");
    let mut unbound = order("");
    unbound.binds = vec![Bind {
        source: "/no/such/folder".into(),
        target: "/var/task".into(),
    }];
    let error = world.spawner.claim(unbound).await.unwrap_err().to_string();
    has(&error, "/no/such/folder: No such file");
    assert_eq!(world.sh("echo fine").await, "fine\n");
}
