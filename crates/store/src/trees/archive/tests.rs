//! Archives, sound and hostile.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::*;

enum Put<'a> {
    File(&'a str, u32, &'a [u8]),
    Folder(&'a str),
    Link(&'a str, &'a str),
}
use Put::{File, Folder, Link};

fn zip(entries: &[Put<'_>]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let plain = SimpleFileOptions::default();
    for entry in entries {
        match entry {
            File(name, mode, content) => {
                zip.start_file(*name, plain.unix_permissions(*mode))
                    .unwrap();
                zip.write_all(content).unwrap();
            }
            Folder(name) => zip.add_directory(*name, plain).unwrap(),
            Link(name, target) => zip.add_symlink(*name, *target, plain).unwrap(),
        }
    }
    zip.finish().unwrap().into_inner()
}

struct Shelf {
    _folder: TempDir,
    trees: Trees,
}

impl Shelf {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let trees = Trees::open(folder.path()).unwrap();
        Self {
            _folder: folder,
            trees,
        }
    }

    fn put(&self, zip: &[u8]) -> Result<Unpacked, Error> {
        let put = self.trees.put_zip(zip, "code.zip", 1000);
        let left = fs::read_dir(&self.trees.folder).unwrap();
        let mut left = left.map(|entry| entry.unwrap().file_name());
        assert!(!left.any(|name| name.to_string_lossy().starts_with(".tmp")));
        put
    }

    fn refused(&self, entries: &[Put<'_>]) -> BadArchive {
        match self.put(&zip(entries)) {
            Err(Error::BadArchive(problem)) => problem,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_archive_becomes_a_tree_with_its_programs_and_links() {
    let shelf = Shelf::new();
    let bytes = zip(&[
        File("app.py", 0o644, b"print(1)"),
        File("bin/run", 0o755, b"#!/bin/sh"),
        Folder("empty/"),
        Link("lib/libx.so", "libx.so.1"),
        File("lib/libx.so.1", 0o644, b"x"),
    ]);
    let put = shelf.put(&bytes).unwrap();
    let code = shelf.trees.path(&put.code.digest).unwrap();
    let mode = |name: &str| fs::metadata(code.join(name)).unwrap().permissions().mode();
    assert_eq!(mode("app.py") & 0o111, 0);
    assert_eq!(mode("bin/run") & 0o111, 0o111);
    assert!(code.join("empty").is_dir());
    assert_eq!(fs::read(code.join("lib/libx.so")).unwrap(), b"x");
    assert_eq!((put.code.files, put.code.size_bytes), (3, 18));
    let archive = shelf.trees.path(&put.archive.digest).unwrap();
    assert_eq!(fs::read(archive.join("code.zip")).unwrap(), bytes);
    assert_eq!(put.sha256, manifest::hex(&Sha256::digest(&bytes).into()));
}

#[test]
fn names_that_lead_out_are_refused() {
    let shelf = Shelf::new();
    for name in ["../evil", "a/../../evil", "/etc/passwd", "..\\evil", "a\0b"] {
        let problem = shelf.refused(&[File(name, 0o644, b"x")]);
        assert!(
            matches!(problem, BadArchive::Name { .. }),
            "{name}: {problem:?}"
        );
    }
}

#[test]
fn links_that_lead_out_are_refused() {
    let shelf = Shelf::new();
    for links in [
        &[Link("a", "/etc")][..],
        &[Link("a", "..")],
        &[Link("a/b", "../../x")],
        &[Folder("d/"), Link("d/self", "."), Link("z", "d/self/../..")],
        &[Link("a", "b"), Link("b", "a")],
    ] {
        let problem = shelf.refused(links);
        assert!(matches!(problem, BadArchive::Link(_)), "{problem:?}");
    }
    let through = [Link("a", "d"), Folder("d/"), File("a/x", 0o644, b"x")];
    assert!(matches!(shelf.refused(&through), BadArchive::Name { .. }));
    let below = [Link("a", "d"), Folder("d/"), Link("a/x", "y")];
    assert!(matches!(shelf.refused(&below), BadArchive::Name { .. }));
}

#[test]
fn what_is_too_large_is_not_written() {
    let shelf = Shelf::new();
    let bomb = vec![0; 2000];
    assert_eq!(
        shelf.refused(&[File("bomb", 0o644, &bomb)]),
        BadArchive::TooLarge { max: 1000 }
    );
    let half = vec![0; 600];
    assert_eq!(
        shelf.refused(&[File("a", 0o644, &half), File("b", 0o644, &half)]),
        BadArchive::TooLarge { max: 1000 }
    );
    assert!(shelf.put(&zip(&[File("a", 0o644, &[0; 1000])])).is_ok());
}

#[test]
fn what_is_no_archive_is_said_to_be_none() {
    let shelf = Shelf::new();
    let whole = zip(&[File("app.py", 0o644, b"print(1)")]);
    for broken in [&b""[..], b"PK", b"no archive", &whole[..whole.len() - 10]] {
        let put = shelf.put(broken);
        let unreadable = matches!(put, Err(Error::BadArchive(BadArchive::Unreadable(_))));
        assert!(unreadable, "{put:?}");
    }
    assert_eq!(shelf.refused(&[]), BadArchive::Empty);
}

#[test]
fn the_later_of_two_files_stays() {
    let shelf = Shelf::new();
    let twice = zip(&[File("a", 0o755, b"one"), File("./a", 0o755, b"two")]);
    let put = shelf.put(&twice).unwrap();
    let code = shelf.trees.path(&put.code.digest).unwrap();
    assert_eq!(fs::read(code.join("a")).unwrap(), b"two");
    let both = [File("a", 0o644, b"one"), File("a/b", 0o644, b"two")];
    assert!(matches!(shelf.refused(&both), BadArchive::Name { .. }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_bring_it_down(at in 0_usize..400, byte: u8, cut in 0_usize..400) {
        let shelf = Shelf::new();
        let mut bytes = zip(&[
            File("app.py", 0o644, b"print(1)"),
            Link("b", "app.py"),
            Folder("c/"),
        ]);
        if let Some(one) = bytes.get_mut(at) {
            *one = byte;
        }
        bytes.truncate(bytes.len().saturating_sub(cut / 20));
        let _ = shelf.put(&bytes);
    }
}
