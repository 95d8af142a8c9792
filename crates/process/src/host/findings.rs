//! Turns facts about the host into findings with advice.

use std::fs;
use std::path::Path;

use super::{CgroupKind, Finding, Host, Isolation, State, client};
use crate::spawner;

/// Below these a host is too small for comfort, in bytes.
const DISK_LOW: u64 = 2 << 30;
const MEMORY_LOW: u64 = 1 << 30;

pub(super) fn all(program: &Path, data: &Path) -> Vec<Finding> {
    let mut findings = vec![user()];
    match spawner::probe(program, data) {
        Ok(host) => findings.extend(of_host(&host)),
        Err(error) => findings.push(no_jails(&error.to_string())),
    }
    findings.extend([seccomp(), landlock(), disk(data), memory()]);
    findings.extend(client::aws_cli());
    findings
}

fn good(what: &str, detail: impl Into<String>) -> Finding {
    Finding {
        what: what.to_owned(),
        state: State::Good,
        detail: detail.into(),
        advice: None,
    }
}

fn less(what: &str, state: State, detail: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding {
        what: what.to_owned(),
        state,
        detail: detail.into(),
        advice: Some(advice.into()),
    }
}

fn of_host(host: &Host) -> Vec<Finding> {
    let mut findings = vec![isolation(host), cgroups(host)];
    if host.isolation == Isolation::Jail {
        findings.extend([network(host), overlay(host), processes(host)]);
    }
    findings
}

fn user() -> Finding {
    if rustix::process::getuid().is_root() {
        return good("user", "root: every sandbox gets a user of its own");
    }
    let user = rustix::process::getuid().as_raw();
    less(
        "user",
        State::Good,
        format!("ordinary user {user}: sandboxes share it on the host, kept apart by namespaces"),
        "run as root where functions of several owners run side by side",
    )
}

fn isolation(host: &Host) -> Finding {
    match host.isolation {
        Isolation::Jail if host.privileged => good("sandbox", "full, with rights over the host"),
        Isolation::Jail => good("sandbox", "full, by user namespaces"),
        Isolation::Lite => no_jails(&format!(
            "none: {}; `dev` runs functions without isolation (process-lite)",
            host.reason.as_deref().unwrap_or_default()
        )),
    }
}

fn no_jails(reason: &str) -> Finding {
    let setting = |file: &str| {
        let text = fs::read_to_string(Path::new("/proc/sys").join(file)).ok()?;
        text.trim().parse().ok()
    };
    let container = ["/.dockerenv", "/run/.containerenv"]
        .iter()
        .any(|file| Path::new(file).exists());
    let advice = allow_user_namespaces(setting, container);
    less("sandbox", State::Missing, reason, advice)
}

/// What to do depends on everything that stands in the way.
fn allow_user_namespaces(setting: impl Fn(&str) -> Option<u64>, container: bool) -> String {
    let mut commands = Vec::new();
    if setting("kernel/unprivileged_userns_clone") == Some(0) {
        commands.push("kernel.unprivileged_userns_clone=1");
    }
    if setting("user/max_user_namespaces") == Some(0) {
        commands.push("user.max_user_namespaces=15000");
    }
    let by_apparmor = setting("kernel/apparmor_restrict_unprivileged_userns") == Some(1);
    if by_apparmor {
        commands.push("kernel.apparmor_restrict_unprivileged_userns=0");
    }
    if !commands.is_empty() {
        let profile = if by_apparmor {
            ", or for the last of them give dayfly an AppArmor profile with `userns,`"
        } else {
            ""
        };
        return format!(
            "allow user namespaces: sudo sysctl -w {} (and the same lines in \
             /etc/sysctl.d/dayfly.conf to keep them){profile}",
            commands.join(" ")
        );
    }
    if container {
        return "this is a container: start it with --security-opt seccomp=unconfined and \
                --security-opt apparmor=unconfined, or with --privileged"
            .to_owned();
    }
    "run as root, or allow user namespaces to your user".to_owned()
}

fn cgroups(host: &Host) -> Finding {
    const WHAT: &str = "control groups";
    let version = match host.cgroups {
        CgroupKind::V2 => 2,
        CgroupKind::V1 => 1,
        CgroupKind::None => {
            return less(
                WHAT,
                State::Degraded,
                "none delegated: memory is looked at ten times a second instead of held by the \
                 kernel, processes are limited by user, and CPU is not shared out",
                "run as root, or under `systemd-run --user --scope -p Delegate=yes`",
            );
        }
    };
    let found = format!("version {version}: {}", host.controllers.join(", "));
    let missing: Vec<_> = ["memory", "pids", "cpu", "freezer"]
        .into_iter()
        .filter(|name| !host.controllers.iter().any(|there| there == name))
        .collect();
    if missing.is_empty() {
        return good(WHAT, found);
    }
    let advice = format!("have {} delegated to this user too", missing.join(", "));
    less(WHAT, State::Degraded, found, advice)
}

fn network(host: &Host) -> Finding {
    const WHAT: &str = "network of functions";
    match &host.no_outside_network {
        None => good(
            WHAT,
            "outside connections carried, by nf_tables in each sandbox",
        ),
        Some(reason) => less(
            WHAT,
            State::Degraded,
            format!("functions cannot reach the outside: {reason}"),
            "load the kernel modules: modprobe -a nf_tables nft_redir nft_chain_nat",
        ),
    }
}

fn overlay(host: &Host) -> Finding {
    if host.overlay {
        return good("layers", "several at once, by overlayfs");
    }
    less(
        "layers",
        State::Degraded,
        "a function can have one layer only: this kernel mounts no overlayfs for us",
        "load the kernel module: modprobe overlay (needs Linux 5.11 for ordinary users)",
    )
}

fn processes(host: &Host) -> Finding {
    if host.proc_mounted {
        return good("/proc in sandboxes", "own processes only");
    }
    less(
        "/proc in sandboxes",
        State::Degraded,
        "none: parts of the host's own /proc are covered, so none may be mounted",
        "in a container, start it with --security-opt systempaths=unconfined",
    )
}

fn seccomp() -> Finding {
    let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail");
    match actions {
        Ok(actions) if actions.contains("errno") => good("seccomp", "system calls are filtered"),
        _ => less(
            "seccomp",
            State::Missing,
            "not in this kernel",
            "use a kernel with CONFIG_SECCOMP_FILTER",
        ),
    }
}

fn landlock() -> Finding {
    match crate::jail::landlock_version() {
        Some(version) => good("landlock", format!("version {version}")),
        None => less(
            "landlock",
            State::Degraded,
            "not in this kernel, or not switched on: one layer of file protection less",
            "add landlock to the kernel's lsm= list",
        ),
    }
}

fn disk(data: &Path) -> Finding {
    // The folder may not be there yet.
    let found = data.ancestors().find_map(|folder| {
        let folder = if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        };
        rustix::fs::statvfs(folder).ok()
    });
    let Some(found) = found else {
        let detail = format!("cannot look at {}", data.display());
        return less(
            "disk",
            State::Missing,
            detail,
            "choose another folder for state",
        );
    };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let detail = format!("{} free", size(free));
    if free >= DISK_LOW {
        return good("disk", detail);
    }
    less(
        "disk",
        State::Degraded,
        detail,
        format!("free at least {}", size(DISK_LOW)),
    )
}

fn memory() -> Finding {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .and_then(|rest| {
            rest.trim()
                .trim_end_matches("kB")
                .trim()
                .parse::<u64>()
                .ok()
        });
    let bytes = available.unwrap_or(0).saturating_mul(1024);
    let detail = format!("{} available", size(bytes));
    if bytes >= MEMORY_LOW {
        return good("memory", detail);
    }
    less(
        "memory",
        State::Degraded,
        detail,
        "few functions will run side by side",
    )
}

/// In the unit that fits.
fn size(bytes: u64) -> String {
    const GIB: u64 = 1 << 30;
    if bytes >= GIB {
        return format!("{}.{} GiB", bytes / GIB, bytes % GIB * 10 / GIB);
    }
    format!("{} MiB", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn host() -> Host {
        Host {
            isolation: Isolation::Jail,
            reason: None,
            privileged: true,
            cgroups: CgroupKind::V1,
            controllers: ["memory", "pids", "cpu", "freezer"]
                .map(str::to_owned)
                .to_vec(),
            proc_mounted: true,
            outside_network: true,
            no_outside_network: None,
            overlay: true,
        }
    }

    #[track_caller]
    fn check(host: &Host, what: &str, state: State, part: &str) {
        let findings = of_host(host);
        let finding = findings
            .iter()
            .find(|finding| finding.what == what)
            .unwrap();
        assert_eq!(finding.state, state, "{finding:?}");
        assert!(finding.detail.contains(part), "{finding:?}");
        assert_eq!(finding.advice.is_none(), state == State::Good);
    }

    #[test]
    fn a_host_with_everything_is_good() {
        assert!(
            of_host(&host())
                .iter()
                .all(|finding| finding.state == State::Good)
        );
    }

    #[test]
    fn what_is_missing_is_told_with_what_to_do() {
        let none = Host {
            cgroups: CgroupKind::None,
            controllers: vec![],
            ..host()
        };
        check(&none, "control groups", State::Degraded, "none delegated");
        let some = Host {
            controllers: vec!["memory".to_owned()],
            ..host()
        };
        check(
            &some,
            "control groups",
            State::Degraded,
            "version 1: memory",
        );
        let closed = Host {
            no_outside_network: Some("no nft".to_owned()),
            ..host()
        };
        check(&closed, "network of functions", State::Degraded, "no nft");
        check(
            &Host {
                overlay: false,
                ..host()
            },
            "layers",
            State::Degraded,
            "one layer",
        );
        check(
            &Host {
                proc_mounted: false,
                ..host()
            },
            "/proc in sandboxes",
            State::Degraded,
            "none",
        );
        let lite = Host {
            isolation: Isolation::Lite,
            reason: Some("forbidden".into()),
            ..host()
        };
        check(
            &lite,
            "sandbox",
            State::Missing,
            "none: forbidden; `dev` runs",
        );
        check(&lite, "control groups", State::Good, "version 1");
    }

    #[test]
    fn every_setting_in_the_way_is_named() {
        let advice = |set: &[(&str, u64)]| {
            let setting = |file: &str| set.iter().find(|(name, _)| *name == file).map(|(_, n)| *n);
            allow_user_namespaces(setting, false)
        };
        expect![[r#"allow user namespaces: sudo sysctl -w user.max_user_namespaces=15000 (and the same lines in /etc/sysctl.d/dayfly.conf to keep them)"#]]
            .assert_eq(&advice(&[("user/max_user_namespaces", 0)]));
        expect![[r#"allow user namespaces: sudo sysctl -w kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0 (and the same lines in /etc/sysctl.d/dayfly.conf to keep them), or for the last of them give dayfly an AppArmor profile with `userns,`"#]]
            .assert_eq(&advice(&[
                ("kernel/unprivileged_userns_clone", 0),
                ("kernel/apparmor_restrict_unprivileged_userns", 1),
                ("user/max_user_namespaces", 15000),
            ]));
        assert!(advice(&[]).starts_with("run as root"));
        assert!(allow_user_namespaces(|_| None, true).contains("container"));
    }

    #[test]
    fn sizes_are_told_in_the_unit_that_fits() {
        assert_eq!(size(3 << 29), "1.5 GiB");
        assert_eq!(size(5 << 20), "5 MiB");
    }
}
