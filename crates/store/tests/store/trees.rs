//! Trees of code: stored once, whole or not at all, and never more than what may be stored.

use std::collections::HashSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use store::trees::Source;
use store::{Error, Tree, Trees};
use tempfile::TempDir;

/// A store and a place for sources.
struct Bench {
    folder: TempDir,
    trees: Trees,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let trees = Trees::open(&folder.path().join("data")).unwrap();
        Self { folder, trees }
    }

    fn source(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let source = self.folder.path().join(name);
        fs::create_dir_all(&source).unwrap();
        for (path, content) in files {
            let path = source.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        source
    }

    fn read(&self, tree: &Tree, path: &str) -> String {
        fs::read_to_string(self.trees.path(&tree.digest).unwrap().join(path)).unwrap()
    }

    fn blobs(&self) -> usize {
        let mut count = 0;
        for shelf in fs::read_dir(self.folder.path().join("data/blobs")).unwrap() {
            count += fs::read_dir(shelf.unwrap().path()).unwrap().count();
        }
        count
    }

    /// Makes files look as old as sources usually are, so that their times are trusted.
    fn age(&self, source: &Path) {
        for entry in fs::read_dir(source).unwrap() {
            let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
            fs::File::open(entry.unwrap().path())
                .unwrap()
                .set_modified(old)
                .unwrap();
        }
    }
}

fn keep(trees: &[&Tree]) -> HashSet<String> {
    trees.iter().map(|tree| tree.digest.clone()).collect()
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_tree_is_what_its_source_was() {
    let bench = Bench::new();
    let source = bench.source(
        "a",
        &[
            ("app.py", "code"),
            ("lib/deep/x.txt", "text"),
            ("run", "#!"),
        ],
    );
    fs::create_dir(source.join("empty")).unwrap();
    fs::set_permissions(source.join("run"), Permissions::from_mode(0o4700)).unwrap();
    fs::set_permissions(source.join("app.py"), Permissions::from_mode(0o600)).unwrap();
    symlink("../lib/deep", source.join("lib/again")).unwrap();
    let tree = bench.trees.put(&source).unwrap();
    assert_eq!((tree.files, tree.size_bytes), (3, 10));
    assert!(bench.trees.contains(&tree.digest));
    let path = bench.trees.path(&tree.digest).unwrap();
    assert_eq!(bench.read(&tree, "lib/again/x.txt"), "text");
    assert_eq!(mode(&path.join("run")), 0o755);
    assert_eq!(mode(&path.join("app.py")), 0o644);
    assert_eq!((mode(&path), mode(&path.join("lib/deep"))), (0o755, 0o755));
    assert!(path.join("empty").is_dir());
    assert_eq!(mode(&bench.folder.path().join("data")), 0o700);
    bench.trees.verify(&tree.digest).unwrap();
}

#[test]
fn equal_content_is_kept_once() {
    let bench = Bench::new();
    let one = bench.source("one", &[("a", "same"), ("b", "same"), ("c", "other")]);
    let two = bench.source("two", &[("z", "same")]);
    let first = bench.trees.put(&one).unwrap();
    let second = bench.trees.put(&two).unwrap();
    assert_ne!(first.digest, second.digest);
    assert_eq!(bench.blobs(), 2);
    let inode = |tree: &Tree, name: &str| {
        fs::metadata(bench.trees.path(&tree.digest).unwrap().join(name))
            .unwrap()
            .ino()
    };
    assert_eq!(inode(&first, "a"), inode(&second, "z"));
    assert_ne!(
        inode(&first, "a"),
        fs::metadata(one.join("a")).unwrap().ino()
    );
    assert_eq!(bench.trees.put(&one).unwrap(), first);
}

#[test]
fn everything_that_can_differ_makes_another_digest() {
    let bench = Bench::new();
    let mut digests = HashSet::new();
    let mut put = |name: &str, change: &dyn Fn(&Path)| {
        let source = bench.source(name, &[("a", "1"), ("d/b", "2")]);
        change(&source);
        assert!(
            digests.insert(bench.trees.put(&source).unwrap().digest),
            "{name}"
        );
    };
    put("plain", &|_| {});
    put("content", &|source| {
        fs::write(source.join("a"), "2").unwrap()
    });
    put("name", &|source| {
        fs::rename(source.join("a"), source.join("c")).unwrap()
    });
    put("place", &|source| {
        fs::rename(source.join("a"), source.join("d/a")).unwrap()
    });
    put("mode", &|source| {
        fs::set_permissions(source.join("a"), Permissions::from_mode(0o755)).unwrap();
    });
    put("folder", &|source| {
        fs::create_dir(source.join("e")).unwrap()
    });
    put("link", &|source| symlink("a", source.join("e")).unwrap());
    put("target", &|source| symlink("d", source.join("e")).unwrap());
}

#[test]
fn a_change_is_seen_however_quickly_it_comes() {
    let bench = Bench::new();
    let source = bench.source("a", &[("app.py", "0")]);
    let mut digests = HashSet::new();
    for n in 0..9 {
        // Same size, same inode, within one tick of the file system's clock.
        fs::write(source.join("app.py"), n.to_string()).unwrap();
        let tree = bench.trees.put(&source).unwrap();
        assert_eq!(bench.read(&tree, "app.py"), n.to_string());
        assert!(digests.insert(tree.digest));
    }
}

#[test]
fn a_change_that_hides_behind_its_old_time_is_seen() {
    let bench = Bench::new();
    let source = bench.source("a", &[("app.py", "1")]);
    bench.age(&source);
    let first = bench.trees.put(&source).unwrap();
    fs::write(source.join("app.py"), "2").unwrap();
    bench.age(&source);
    assert_ne!(bench.trees.put(&source).unwrap().digest, first.digest);
}

#[test]
fn later_sources_lie_over_earlier_ones() {
    let bench = Bench::new();
    let one = bench.source(
        "one",
        &[("a", "1"), ("d/x", "1"), ("f", "1"), ("keep/me", "1")],
    );
    let two = bench.source(
        "two",
        &[("a", "2"), ("d", "2"), ("f/y", "2"), ("keep/too", "2")],
    );
    let tree = bench
        .trees
        .put_merged(&[Source::all(&one), Source::all(&two)])
        .unwrap();
    for (path, content) in [
        ("a", "2"),
        ("d", "2"),
        ("f/y", "2"),
        ("keep/me", "1"),
        ("keep/too", "2"),
    ] {
        assert_eq!(bench.read(&tree, path), content, "{path}");
    }
    assert_eq!(tree.files, 5);
    let same = bench.source(
        "same",
        &[
            ("a", "2"),
            ("d", "2"),
            ("f/y", "2"),
            ("keep/me", "1"),
            ("keep/too", "2"),
        ],
    );
    assert_eq!(bench.trees.put(&same).unwrap(), tree);
}

#[test]
fn what_is_ignored_is_not_even_looked_at() {
    let bench = Bench::new();
    let source = bench.source(
        "a",
        &[("app.py", "1"), (".git/objects/x", "2"), ("b.log", "3")],
    );
    symlink("/etc/passwd", source.join(".git/out")).unwrap();
    let ignore = |path: &Path, folder: bool| {
        (folder && path == Path::new(".git")) || path.extension().is_some_and(|end| end == "log")
    };
    let tree = bench
        .trees
        .put_merged(&[Source {
            folder: &source,
            ignore: &ignore,
        }])
        .unwrap();
    assert_eq!(tree.files, 1);
}

#[track_caller]
fn refused(make: impl Fn(&Path)) {
    let bench = Bench::new();
    let source = bench.source("a", &[("d/b", "2")]);
    make(&source);
    match bench.trees.put(&source) {
        Err(Error::Unstorable { path, .. }) => {
            assert!(
                path.file_name().is_some_and(|name| name == "bad"),
                "{}",
                path.display()
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.blobs(), 0);
}

#[test]
fn links_that_leave_and_things_that_are_no_files_are_refused() {
    refused(|source| symlink("/etc/passwd", source.join("bad")).unwrap());
    refused(|source| symlink("../x", source.join("bad")).unwrap());
    refused(|source| symlink("d/../../x", source.join("bad")).unwrap());
    refused(|source| symlink("bad", source.join("bad")).unwrap());
    refused(|source| {
        // Inside by its letters; outside by where the first link leads.
        symlink("..", source.join("d/s")).unwrap();
        fs::create_dir_all(source.join("d/e/f")).unwrap();
        symlink("../../s/..", source.join("d/e/f/bad")).unwrap();
    });
    refused(|source| drop(std::os::unix::net::UnixListener::bind(source.join("bad")).unwrap()));
}

#[test]
fn links_that_stay_are_kept() {
    let bench = Bench::new();
    let source = bench.source("a", &[("lib/libx.so.1.2", "x")]);
    symlink("libx.so.1.2", source.join("lib/libx.so.1")).unwrap();
    symlink("./libx.so.1", source.join("lib/libx.so")).unwrap();
    symlink("lib", source.join("lib64")).unwrap();
    symlink("lib64/../lib/nothing", source.join("dangling")).unwrap();
    let tree = bench.trees.put(&source).unwrap();
    assert_eq!(bench.read(&tree, "lib64/libx.so"), "x");
    bench.trees.verify(&tree.digest).unwrap();
}

#[test]
fn a_source_that_is_not_there_is_named() {
    let bench = Bench::new();
    let missing = bench.folder.path().join("nothing");
    match bench.trees.put(&missing) {
        Err(Error::Unstorable { path, .. }) => assert_eq!(path, missing),
        other => panic!("{other:?}"),
    }
}

#[test]
fn digests_that_are_none_find_nothing() {
    let bench = Bench::new();
    for digest in [
        "",
        "..",
        "../blobs",
        &"0".repeat(64),
        &"A".repeat(64),
        &"/".repeat(64),
    ] {
        assert!(!bench.trees.contains(digest));
        assert!(
            matches!(bench.trees.path(digest), Err(Error::Missing { .. })),
            "{digest}"
        );
    }
}

#[test]
fn only_what_nobody_needs_is_removed() {
    let bench = Bench::new();
    let one = bench
        .trees
        .put(&bench.source("one", &[("a", "same"), ("b", "one")]))
        .unwrap();
    let two = bench
        .trees
        .put(&bench.source("two", &[("a", "same"), ("b", "two")]))
        .unwrap();
    // Put by this process and not yet known to be in use: a deployment may be about to say so.
    assert_eq!(bench.trees.remove_unreferenced(&keep(&[&one])).unwrap(), 0);
    assert_eq!(bench.trees.remove_unreferenced(&keep(&[&two])).unwrap(), 1);
    assert!(!bench.trees.contains(&one.digest));
    assert_eq!(bench.read(&two, "a"), "same");
    assert_eq!(bench.blobs(), 2);
    assert_eq!(bench.trees.remove_unreferenced(&HashSet::new()).unwrap(), 1);
    assert_eq!(bench.blobs(), 0);
    let again = bench.trees.put(&bench.folder.path().join("one")).unwrap();
    assert_eq!(again, one);
    bench.trees.verify(&again.digest).unwrap();
    // Used and given up again since the last sweep.
    bench.trees.recorded([again.digest.as_str()]);
    assert_eq!(bench.trees.remove_unreferenced(&HashSet::new()).unwrap(), 1);
}

#[test]
fn what_was_left_unfinished_is_swept() {
    let bench = Bench::new();
    let tree = bench.trees.put(&bench.source("a", &[("a", "1")])).unwrap();
    let data = bench.folder.path().join("data");
    for left in ["trees/.tmp-1/deep", "blobs/.tmp-2"] {
        fs::create_dir_all(data.join(left)).unwrap();
        fs::write(data.join(left).join("file"), "half").unwrap();
    }
    assert!(matches!(Trees::open(&data), Err(Error::InUse { .. })));
    let Bench { folder, trees } = bench;
    drop(trees);
    let trees = Trees::open(&data).unwrap();
    assert!(!data.join("trees/.tmp-1").exists() && !data.join("blobs/.tmp-2").exists());
    trees.verify(&tree.digest).unwrap();
    drop(folder);
}

#[test]
fn damage_is_found() {
    let bench = Bench::new();
    let tree = bench
        .trees
        .put(&bench.source("a", &[("a", "1"), ("b", "2")]))
        .unwrap();
    let path = bench.trees.path(&tree.digest).unwrap();
    fs::write(path.join("a"), "x").unwrap();
    assert!(matches!(
        bench.trees.verify(&tree.digest),
        Err(Error::Damaged { .. })
    ));
    fs::write(path.join("a"), "1").unwrap();
    bench.trees.verify(&tree.digest).unwrap();
    fs::remove_file(path.join("b")).unwrap();
    assert!(matches!(
        bench.trees.verify(&tree.digest),
        Err(Error::Damaged { .. })
    ));
}

#[test]
fn many_may_put_at_once() {
    let bench = Bench::new();
    let files: Vec<(String, String)> = (0..60)
        .map(|n| (format!("d{}/f{n}", n % 7), format!("content {n}")))
        .collect();
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(path, text)| (&**path, &**text))
        .collect();
    let source = bench.source("a", &files);
    let trees: HashSet<String> = std::thread::scope(|scope| {
        let puts: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| bench.trees.put(&source).unwrap().digest))
            .collect();
        puts.into_iter().map(|put| put.join().unwrap()).collect()
    });
    assert_eq!(trees.len(), 1);
    for digest in trees {
        bench.trees.verify(&digest).unwrap();
    }
    let left = fs::read_dir(bench.folder.path().join("data/trees"))
        .unwrap()
        .count();
    assert_eq!(left, 1);
}

#[test]
fn large_files_are_stored_too() {
    let bench = Bench::new();
    let large = "0123456789abcdef".repeat(600 << 10);
    let source = bench.source("a", &[("large", &large), ("twin", &large)]);
    let tree = bench.trees.put(&source).unwrap();
    assert_eq!(bench.read(&tree, "twin"), large);
    assert_eq!(bench.blobs(), 1);
    bench.trees.verify(&tree.digest).unwrap();
}

#[test]
fn a_file_that_was_remembered_but_is_gone_is_read_again() {
    let bench = Bench::new();
    let source = bench.source("a", &[("app.py", "1"), ("b", "2")]);
    let first = bench.trees.put(&source).unwrap();
    bench.trees.remove_unreferenced(&keep(&[&first])).unwrap();
    bench.trees.remove_unreferenced(&HashSet::new()).unwrap();
    assert_eq!(bench.blobs(), 0);
    assert_eq!(bench.trees.put(&source).unwrap(), first);
    bench.trees.verify(&first.digest).unwrap();
}
