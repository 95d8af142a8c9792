//! Hosts of several kinds, each a folder tree with programs that answer as interpreters do.

use std::os::unix::fs::PermissionsExt;

use super::*;

/// A host that exists only in a folder.
struct FakeHost {
    folder: PathBuf,
    surroundings: Surroundings,
}

impl FakeHost {
    fn new() -> Self {
        let mut id = [0; 8];
        store::Clock::random(&store::SystemClock::new(), &mut id);
        let folder = std::env::temp_dir().join(format!("dayfly-host-{}", model::id::hex(&id)));
        std::fs::create_dir_all(&folder).unwrap();
        let folder = folder.canonicalize().unwrap();
        let surroundings = Surroundings {
            path: vec![folder.join("usr/bin")],
            home: Some(folder.join("home/me")),
            variables: HashMap::new(),
            root: folder.clone(),
        };
        Self {
            folder,
            surroundings,
        }
    }

    fn file(&self, path: &str, text: &str) -> PathBuf {
        let path = self.folder.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn program(&self, path: &str, version: &str, name: &str) {
        let whole = self.folder.join(path);
        let whole = whole.display();
        self.file(
            path,
            &format!("#!/bin/sh\nprintf '%s\\n' '{version}' '{whole}' '{name}'\n"),
        );
    }

    fn python(&self, path: &str, version: &str) {
        self.program(path, version, "cpython");
    }

    fn node(&self, path: &str, version: &str) {
        self.program(path, version, "node");
    }

    /// What is found, or what its user is told.
    fn find(&self, wanted: Language, strict: bool) -> String {
        let finder = Finder::new(
            self.surroundings.clone(),
            strict,
            self.folder.join("cache"),
            Arc::new(|_| {}),
        );
        let finder = Arc::new(finder);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let code = self.folder.join("code");
        let clock = store::SystemClock::new();
        let found = runtime.block_on(finder.find(wanted, &[code.as_path()], &clock));
        let seen = match found {
            Ok(Choice {
                interpreter,
                warning,
            }) => {
                let word = if warning.is_some() { "instead " } else { "" };
                format!("{word}{}", interpreter.executable.display())
            }
            Err(cannot) => cannot.reason,
        };
        seen.replace(&format!("{}/", self.folder.display()), "")
    }
}

impl Drop for FakeHost {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn the_exact_version_is_found_wherever_it_is() {
    let check = |path: &str| {
        let host = FakeHost::new();
        host.python("usr/bin/python3", "3.11.2");
        host.python(path, "3.12.4");
        assert_eq!(host.find(Language::Python(12), true), path);
    };
    check("usr/bin/python3.12");
    check("usr/local/bin/python3.12");
    check("home/me/.pyenv/versions/3.12.4/bin/python3.12");
    check("home/me/.local/share/uv/python/cpython-3.12.4-linux-x86_64-gnu/bin/python3.12");
    check("home/me/.local/share/mise/installs/python/3.12.4/bin/python3");
    check("home/me/.asdf/installs/python/3.12.4/bin/python3.12");
    let check = |path: &str| {
        let host = FakeHost::new();
        host.node("usr/bin/node", "18.19.0");
        host.node(path, "22.1.0");
        assert_eq!(host.find(Language::Node(22), true), path);
    };
    check("home/me/.nvm/versions/node/v22.1.0/bin/node");
    check("home/me/.local/share/fnm/node-versions/v22.1.0/installation/bin/node");
    check("home/me/.volta/tools/image/node/22.1.0/bin/node");
    check("home/me/.local/share/mise/installs/node/22.1.0/bin/node");
    check("home/me/.asdf/installs/nodejs/22.1.0/bin/node");
    check(&fetched());
}

#[test]
fn a_shim_that_leads_nowhere_is_passed_over() {
    let mut host = FakeHost::new();
    let shim = host.file("home/me/.pyenv/shims/python3.12", "#!/bin/sh\nexit 127\n");
    host.surroundings
        .path
        .insert(0, shim.parent().unwrap().to_owned());
    host.python("home/me/.pyenv/versions/3.12.4/bin/python3.12", "3.12.4");
    assert_eq!(
        host.find(Language::Python(12), true),
        "home/me/.pyenv/versions/3.12.4/bin/python3.12"
    );
}

#[test]
fn what_shims_lead_to_is_found_without_asking_them() {
    let mut host = FakeHost::new();
    let asked = host.surroundings.root.join("asked");
    for name in ["python3", "python3.12", "python3.13"] {
        let script = format!("#!/bin/sh\necho >{}\nexit 127\n", asked.display());
        host.file(&format!("home/me/.pyenv/shims/{name}"), &script);
    }
    let shims = host.surroundings.root.join("home/me/.pyenv/shims");
    host.surroundings.path.insert(0, shims);
    host.python("home/me/.pyenv/versions/3.12.4/bin/python3.12", "3.12.4");
    host.python("usr/bin/python3.11", "3.11.2");
    let check = |minor, found: &str| {
        assert_eq!(host.find(Language::Python(minor), false), found);
    };
    check(12, "home/me/.pyenv/versions/3.12.4/bin/python3.12");
    check(11, "usr/bin/python3.11");
    check(13, "instead home/me/.pyenv/versions/3.12.4/bin/python3.12");
    assert!(!asked.exists());
}

#[test]
fn a_host_with_only_its_distributions_interpreters_stands_in() {
    let host = FakeHost::new();
    host.python("usr/bin/python3.11", "3.11.2");
    host.python("usr/bin/python3", "3.11.2");
    host.node("usr/bin/node", "20.19.0");
    assert_eq!(host.find(Language::Python(11), false), "usr/bin/python3.11");
    assert_eq!(
        host.find(Language::Python(9), false),
        "instead usr/bin/python3.11"
    );
    assert_eq!(
        host.find(Language::Python(14), false),
        "instead usr/bin/python3.11"
    );
    assert_eq!(host.find(Language::Node(20), false), "usr/bin/node");
    assert_eq!(host.find(Language::Node(22), false), "instead usr/bin/node");
    let refused = host.find(Language::Python(9), true);
    assert!(
        refused
            .starts_with("Python 3.9 is not on this host and substitutes are refused; install it"),
        "{refused}"
    );
}

#[test]
fn the_nearest_newer_version_stands_in_before_an_older_one() {
    let host = FakeHost::new();
    for minor in [8, 10, 12, 13] {
        host.python(&format!("usr/bin/python3.{minor}"), &format!("3.{minor}.1"));
    }
    assert_eq!(
        host.find(Language::Python(11), false),
        "instead usr/bin/python3.12"
    );
    assert_eq!(
        host.find(Language::Python(14), false),
        "instead usr/bin/python3.13"
    );
}

#[test]
fn nothing_stands_in_for_binaries_of_another_version() {
    let host = FakeHost::new();
    host.python("usr/bin/python3.11", "3.11.2");
    host.file("code/pkg/_fast.cpython-312-x86_64-linux-gnu.so", "");
    let refused = host.find(Language::Python(12), false);
    assert!(
        refused.contains("another version: pkg/_fast.cpython-312-x86_64-linux-gnu.so; install it"),
        "{refused}"
    );
}

#[test]
fn a_host_with_nothing_is_told_what_to_install() {
    let host = FakeHost::new();
    let refused = host.find(Language::Python(12), false);
    assert!(
        refused.contains("nor any other version of it; install it with `uv python install 3.12`"),
        "{refused}"
    );
    let refused = host.find(Language::Node(22), false);
    assert!(
        refused.contains("npm, which would fetch it, is not on this host either"),
        "{refused}"
    );
}

/// A stand-in for npm, which first does something else.
fn npm(host: &mut FakeHost, first: &str) {
    let script = "#!/bin/sh\nFIRST\nbin=\"$3/node_modules/PACKAGE/bin\"\nmkdir -p \"$bin\"\n\
                  cat > \"$bin/node\" <<END\n#!/bin/sh\nprintf '%s\\n' 22.5.0 \"\\$0\" node\nEND\n\
                  chmod 755 \"$bin/node\"\n";
    let script = script
        .replace("FIRST", first)
        .replace("PACKAGE", fetch::PACKAGE);
    host.file("usr/bin/npm", &script);
    // It needs a shell's tools.
    host.surroundings.path.push(PathBuf::from("/bin"));
}

fn fetched() -> String {
    format!("cache/node/22/node_modules/{}/bin/node", fetch::PACKAGE)
}

#[test]
fn a_missing_node_is_fetched_once() {
    let mut host = FakeHost::new();
    npm(&mut host, "");
    assert_eq!(host.find(Language::Node(22), true), fetched());
    std::fs::remove_file(host.folder.join("usr/bin/npm")).unwrap();
    assert_eq!(host.find(Language::Node(22), true), fetched());
}

#[test]
fn a_fetch_that_failed_is_not_tried_again_at_once() {
    let mut host = FakeHost::new();
    let tries = host.folder.join("tries");
    npm(
        &mut host,
        &format!("echo one >> {}; exit 1", tries.display()),
    );
    let finder = Arc::new(Finder::new(
        host.surroundings.clone(),
        false,
        host.folder.join("cache"),
        Arc::new(|_| {}),
    ));
    let clock = store::SystemClock::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for _ in 0..2 {
        let refused = runtime.block_on(finder.fetch_node(22, &clock));
        let reason = refused.unwrap_err();
        assert!(reason.contains("npm could not fetch"), "{reason}");
    }
    assert_eq!(std::fs::read_to_string(&tries).unwrap(), "one\n");
    // Another is another matter.
    assert!(runtime.block_on(finder.fetch_node(24, &clock)).is_err());
    assert_eq!(std::fs::read_to_string(&tries).unwrap(), "one\none\n");
}

#[test]
fn whoever_fetches_a_node_first_has_fetched_it_for_all() {
    let mut host = FakeHost::new();
    let cache = host.folder.join("cache/node");
    // Another process is half-way, and done before this one is.
    let theirs = host.file("cache/node/22.1.partial/half", "");
    host.file("cache/node/22.4999999.partial/half", "");
    let other = format!(
        "[ \"$3\" = \"{cache}/theirs\" ] || {{ \"$0\" install --prefix {cache}/theirs && mv {cache}/theirs {cache}/22; }}",
        cache = cache.display()
    );
    npm(&mut host, &other);
    assert_eq!(host.find(Language::Node(22), true), fetched());
    assert!(theirs.is_file());
    let left = std::fs::read_dir(cache).unwrap().count();
    assert_eq!(left, 2);
}

#[test]
fn an_interpreter_needs_no_folder_around_it() {
    let host = FakeHost::new();
    let lib = host.file("home/me/lib/libpython3.12.so.1.0", "");
    let link = lib.with_file_name("libpython3.12.so");
    std::os::unix::fs::symlink("libpython3.12.so.1.0", &link).unwrap();
    let packages = host.file("home/me/lib/python3.12/os.py", "");
    let (home, packages) = (host.folder.join("home/me"), packages.parent().unwrap());
    let program = home.join("bin/python3.12");
    host.file(
        "home/me/bin/python3.12",
        &format!(
            "#!/bin/sh\nprintf '%s\\n' 3.12.1 {program} cpython {packages} {packages}/lib-dynload \
             {home} '7f00-7f01 r-xp 00000000 08:01 7    {lib}' \
             '7f00-7f01 r-xp 00000000 08:01 7    /usr/lib/libc.so.6' \
             '7f00-7f01 rw-p 00000000 00:00 0    [heap]'\n",
            program = program.display(),
            packages = packages.display(),
            home = home.display(),
            lib = lib.display(),
        ),
    );
    let mut surroundings = host.surroundings.clone();
    surroundings.path = vec![home.join("bin")];
    let finder = Finder::new(
        surroundings,
        true,
        host.folder.join("cache"),
        Arc::new(|_| {}),
    );
    let found = finder.find_here(Language::Python(12)).unwrap();
    assert_eq!(
        found.needs,
        [program, packages.to_owned(), lib.clone(), link]
    );
}
