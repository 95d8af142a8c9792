//! What a program sees.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use process::spawner::{Bind, Error};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{World, finish, order, read_all, stories};

stories![
    the_user_and_the_world_are_lambdas,
    nothing_of_the_host_is_seen,
    nothing_can_be_written_but_tmp,
    nothing_written_can_be_executed,
    no_rights_are_left,
    no_descriptor_is_inherited,
    the_first_process_cannot_be_looked_into,
    what_was_ordered_is_there,
    layers_lie_over_each_other,
    as_many_layers_as_a_function_may_have_lie_over_each_other,
    layers_lie_around_what_was_bound_below_them,
    the_control_socket_is_descriptor_3,
    doors_lead_to_the_platform,
    dialers_lead_into_the_jail,
    there_is_no_network_but_the_jails_own,
    what_cannot_start_says_why,
];

#[track_caller]
fn has(text: &str, part: &str) {
    assert!(text.contains(part), "{part:?} is not in {text:?}");
}

async fn the_user_and_the_world_are_lambdas(world: World) {
    let text = world
        .sh("id; pwd; hostname; cat /etc/hosts /etc/resolv.conf; env")
        .await;
    has(&text, "uid=993(sbx_user1051) gid=993(sbx_user1051)");
    has(
        &text,
        "/var/task\nsandbox\n127.0.0.1 localhost sandbox.localdomain sandbox\n",
    );
    has(&text, "nameserver 127.0.0.1\n");
    has(&text, "PATH=/usr/bin:/bin\n");
    let folders = world.sh("ls -d /bin/sh /bin/bash /opt /tmp /var/lang/bin /var/runtime /var/task /etc/ssl/certs 2>&1").await;
    assert!(!folders.contains("No such file"), "{folders}");
    assert_eq!(world.sh("ls /dev").await.split_whitespace().count(), 10);
}

async fn nothing_of_the_host_is_seen(world: World) {
    let secret = world.folder.join("secret");
    std::fs::write(&secret, "seen").unwrap();
    let script = format!(
        "cat {} /etc/gshadow /etc/shadow; ls /home /root /work /sys /boot /mnt /proc/sys; ls / | tr '\\n' ' '",
        secret.display()
    );
    let text = world.sh(&format!("({script}) 2>&1")).await;
    assert_eq!(text.matches("No such file").count(), 10, "{text}");
    assert!(!text.contains("home ") && !text.contains("root "), "{text}");
    let processes = world.sh("ls /proc | grep -E '^[0-9]+$' | wc -l").await;
    assert!(processes.trim().parse::<u32>().unwrap() <= 4, "{processes}");
}

async fn nothing_can_be_written_but_tmp(world: World) {
    let code = world.folder.join("code");
    std::fs::create_dir_all(&code).unwrap();
    std::fs::write(code.join("app"), "original").unwrap();
    let mut order = order(
        "for f in /x /usr/x /etc/x /dev/x /var/task/x /var/task/app /var/runtime/x /opt/x; do \
           echo changed > $f && echo wrote $f; done 2>/dev/null; \
         rm -f /var/task/app 2>/dev/null; echo fine > /tmp/x; cat /tmp/x; echo ok > /dev/null && \
         echo fine > /dev/shm/x; cat /dev/shm/x",
    );
    order.binds = vec![Bind {
        source: code.clone(),
        target: "/var/task".into(),
    }];
    let (text, _) = world.run(order).await;
    assert_eq!(text, "fine\nfine\n");
    assert_eq!(
        std::fs::read_to_string(code.join("app")).unwrap(),
        "original"
    );
}

async fn nothing_written_can_be_executed(world: World) {
    let loader = "loader=$(ls /lib64/ld-linux-x86-64.so.2 /lib/ld-linux-aarch64.so.1 2>/dev/null)";
    let script = format!(
        "{loader}; $loader /usr/bin/true && echo loads; /usr/bin/true && echo runs; \
         for d in /tmp /dev/shm; do cp /usr/bin/true $d/t && chmod +x $d/t && [ $(stat -c %a $d/t) = 755 ] && echo made; \
         $d/t && echo ran; $loader $d/t && echo loaded; \
         printf '#!/bin/sh\\necho ran' > $d/s; chmod +x $d/s; $d/s; done 2>/dev/null; \
         mount -o remount,exec /tmp 2>/dev/null && echo remounted; true"
    );
    // What is tried works where it may.
    assert_eq!(world.sh(&script).await, "loads\nruns\nmade\nmade\n");
    let mut allowed = order(&script);
    allowed.limits.tmp_exec = true;
    let (text, _) = world.run(allowed).await;
    assert_eq!(text, "loads\nruns\nmade\nran\nloaded\nran\nmade\n");
}

async fn no_rights_are_left(world: World) {
    let text = world
        .sh("grep -E 'Cap(Prm|Eff|Bnd|Amb|Inh)|NoNewPrivs' /proc/self/status")
        .await;
    assert_eq!(text.matches("0000000000000000").count(), 5, "{text}");
    has(&text, "NoNewPrivs:\t1");
    for refused in [
        "unshare -U true",
        "unshare -m true",
        "mount -t tmpfs x /tmp",
        "chroot / true",
        "hostname x",
        "mknod /tmp/n c 1 3",
    ] {
        let tool = refused.split(' ').next().unwrap_or_default();
        // Its tool is there, and it is for want of rights that it fails.
        let script = format!(
            "PATH=$PATH:/usr/sbin:/sbin; {tool} --version > /dev/null 2>&1 && echo there; ({refused}) 2>&1 || echo refused"
        );
        let text = world.sh(&script).await;
        // The one that some hosts lack.
        if tool == "hostname" && !text.starts_with("there\n") {
            continue;
        }
        assert!(
            text.starts_with("there\n") && text.ends_with("refused\n"),
            "{refused}: {text}"
        );
        let why = [
            "Operation not permitted",
            "Permission denied",
            "permission denied",
            "must be superuser",
            "must be root",
        ];
        assert!(
            why.iter().any(|why| text.contains(why)),
            "{refused}: {text}"
        );
    }
}

async fn no_descriptor_is_inherited(world: World) {
    let text = world
        .sh("cd /proc/self/fd; for f in *; do readlink $f; done; echo; ulimit -c")
        .await;
    // The glob's own descriptor is gone by the time it is read.
    let lines: Vec<_> = text.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.first(), Some(&"/dev/null"));
    assert!(
        lines[1].starts_with("pipe:") && lines[1] == lines[2],
        "{text}"
    );
    assert_eq!(lines.get(3), Some(&"0"), "{text}");
}

async fn the_first_process_cannot_be_looked_into(world: World) {
    let text = world
        .sh(
            "(ls /proc/1/fd; cat /proc/1/environ /proc/1/maps; readlink /proc/1/exe; \
             kill -9 1; kill -STOP 1; kill -TERM 1) 2>/dev/null; echo alive",
        )
        .await;
    assert_eq!(text, "alive\n");
}

async fn what_was_ordered_is_there(world: World) {
    let folder = world.folder.join("ordered");
    std::fs::create_dir_all(folder.join("sub")).unwrap();
    std::fs::write(folder.join("sub/file"), "bound ").unwrap();
    let mut order = order("cat /a/b/c/sub/file /one /var/lang/bin/link /var/runtime/made");
    order.binds = vec![
        Bind {
            source: folder.clone(),
            target: "/a/b/c".into(),
        },
        Bind {
            source: folder.join("sub/file"),
            target: "/one".into(),
        },
    ];
    order.links = vec![("/var/lang/bin/link".into(), "/a/b/c/sub/file".into())];
    order.files = vec![("/var/runtime/made".into(), b"made".to_vec())];
    assert_eq!(world.run(order).await.0, "bound bound bound made");
}

async fn layers_lie_over_each_other(world: World) {
    let layer = |name: &str, files: &[&str]| {
        let folder = world.folder.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        for file in files {
            std::fs::write(folder.join(file), format!("{name} ")).unwrap();
        }
        folder
    };
    let sources = vec![layer("first", &["a", "b"]), layer("second", &["b", "c"])];
    let mut both = order("cat /opt/a /opt/b /opt/c; echo x > /opt/a || echo kept");
    both.overlays = vec![("/opt".into(), sources.clone())];
    let (text, _) = world.run(both).await;
    has(&text, "first second second ");
    has(&text, "kept");
    let mut one = order("cat /opt/a");
    one.overlays = vec![("/opt".into(), sources[..1].to_vec())];
    assert_eq!(world.run(one).await.0, "first ");
}

async fn as_many_layers_as_a_function_may_have_lie_over_each_other(world: World) {
    // Odd letters that separate folders elsewhere, and more than the kernel takes of them.
    let deep = world.folder.join("l:a\\y,e r".repeat(20));
    let sources: Vec<_> = (1..=5)
        .map(|number| {
            let folder = deep.join(number.to_string());
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("top"), number.to_string()).unwrap();
            std::fs::write(folder.join(format!("own{number}")), "").unwrap();
            folder
        })
        .collect();
    let mut order = order("cd /opt; cat top; echo *");
    order.overlays = vec![("/opt".into(), sources)];
    assert_eq!(world.run(order).await.0, "5own1 own2 own3 own4 own5 top\n");
}

async fn layers_lie_around_what_was_bound_below_them(world: World) {
    let folder = world.folder.join("around");
    for (path, text) in [
        ("tool", "#!/bin/sh\necho tool\n"),
        ("1/in/lib/one", "1"),
        ("1/in/bin/tool", "hidden"),
        ("2/in/lib/two", "2"),
        ("2/note", "note"),
    ] {
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    std::os::unix::fs::symlink("in/lib/one", folder.join("1/link")).unwrap();
    let tool = Bind {
        source: folder.join("tool"),
        target: "/opt/in/bin/tool".into(),
    };
    for (sources, seen) in [
        (vec![folder.join("1")], "tool 1 1"),
        (vec![folder.join("1"), folder.join("2")], "tool 1 1 2 note"),
    ] {
        let mut order = order(
            "cd /opt; echo $(in/bin/tool; for f in link in/lib/* note; do cat $f; echo; done); \
             for f in x in/x in/lib/x in/bin/tool; do echo x > $f; done; ls -a / | grep aside",
        );
        order.binds = vec![tool.clone()];
        order.overlays = vec![("/opt".into(), sources)];
        let text = world.run(order).await.0;
        assert_eq!(
            text.lines().find(|line| !line.starts_with("cat")),
            Some(seen),
            "{text}"
        );
        assert_eq!(text.matches("Read-only file system").count(), 4, "{text}");
        assert!(!text.contains("aside"), "{text}");
    }
}

async fn the_control_socket_is_descriptor_3(world: World) {
    let mut order = order("read -r word <&3; echo \"got $word\" >&3");
    order.control = true;
    let mut jail = world.spawner.claim(order).await.unwrap();
    let control = tokio::net::UnixStream::from_std(jail.control.take().unwrap().socket);
    let mut control = control.unwrap();
    control.write_all(b"hello\n").await.unwrap();
    let mut answer = String::new();
    control.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "got hello\n");
    finish(jail).await;
}

async fn doors_lead_to_the_platform(world: World) {
    let script =
        "for p in 9001 4566; do exec 5<>/dev/tcp/127.0.0.1/$p; read -r x <&5; echo $x; done";
    let jail = world.spawner.claim(order(script)).await.unwrap();
    for (door, word) in [
        (&jail.doors.runtime_api, "api"),
        (&jail.doors.home[0], "endpoint"),
    ] {
        let door = tokio::net::TcpListener::from_std(door.try_clone().unwrap()).unwrap();
        let (mut stream, _) = door.accept().await.unwrap();
        stream
            .write_all(format!("{word}\n").as_bytes())
            .await
            .unwrap();
    }
    assert_eq!(finish(jail).await.0, "api\nendpoint\n");
}

async fn dialers_lead_into_the_jail(world: World) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    drop(listener);
    let mut order = order("sleep 60");
    order.dialers = 2;
    let jail = world.spawner.claim(order).await.unwrap();
    assert_eq!(jail.dialers.len(), 2);
    // The jail's own Runtime API listener is what there is to dial in its network.
    let dialer = jail.dialers[0].try_clone().unwrap();
    rustix::io::ioctl_fionbio(&dialer, false).unwrap();
    let address: std::net::SocketAddr = "127.0.0.1:9001".parse().unwrap();
    rustix::net::connect(&dialer, &address).unwrap();
    let mut dialer = std::net::TcpStream::from(dialer);
    let door = tokio::net::TcpListener::from_std(jail.doors.runtime_api.try_clone().unwrap());
    let (stream, _) = door.unwrap().accept().await.unwrap();
    let mut stream = stream.into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    dialer.write_all(b"x").unwrap();
    let mut byte = [0];
    stream.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"x");
    jail.kill().await;
}

async fn there_is_no_network_but_the_jails_own(world: World) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = format!(
        "(exec 5<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null && echo host; \
         (exec 5<>/dev/tcp/192.0.2.1/80) 2>/dev/null && echo outside; true"
    );
    let jail = world.spawner.claim(order(&script)).await.unwrap();
    assert!(jail.doors.egress.is_none());
    assert_eq!(finish(jail).await.0, "");
}

async fn what_cannot_start_says_why(world: World) {
    let refused = |result: Result<_, Error>| match result.map(|_: process::spawner::Jail| ()) {
        Err(Error::Refused { reason }) => reason,
        other => panic!("{other:?}"),
    };
    let mut missing = order("");
    missing.argv = vec!["/usr/bin/no-such-program".into()];
    let reason = refused(world.spawner.claim(missing).await);
    has(&reason, "/usr/bin/no-such-program: No such file");
    let mut unbound = order("");
    unbound.binds = vec![Bind {
        source: "/no/such/folder".into(),
        target: "/x".into(),
    }];
    let reason = refused(world.spawner.claim(unbound).await);
    has(&reason, "/no/such/folder: No such file");
    let mut covered = order("");
    covered.files = vec![("/usr/x".into(), b"x".to_vec())];
    has(
        &refused(world.spawner.claim(covered).await),
        "/usr/x: Read-only file system",
    );
    let mut nowhere = order("");
    nowhere.cwd = "/no/where".into();
    has(
        &refused(world.spawner.claim(nowhere).await),
        "/no/where: No such file",
    );
    let mut large = order("");
    large.files = vec![("/var/runtime/x".into(), vec![0; 300_000])];
    let error = world.spawner.claim(large).await.unwrap_err();
    assert!(
        matches!(error, Error::TooLarge { bytes } if bytes > 300_000),
        "{error}"
    );
    // And what can start still does.
    let jail = world.spawner.claim(order("echo fine")).await.unwrap();
    assert_eq!(read_all(jail.output.try_clone().unwrap()).await, "fine\n");
}
