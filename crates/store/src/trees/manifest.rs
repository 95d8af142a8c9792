//! What a tree is made of, and the digest that follows from it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use super::Tree;

/// Begins the bytes that are hashed, so that another form could never have the same digest.
const FORM: &[u8] = b"dayfly tree 1\n";

/// Everything in a tree by its path relative to the root, in byte order, so that a folder comes
/// before what is in it.
#[derive(Debug, Default)]
pub(super) struct Manifest {
    pub(super) nodes: BTreeMap<OsString, Node>,
}

/// One thing in a tree.
#[derive(Debug)]
pub(super) enum Node {
    Folder,
    File(Content),
    Link(PathBuf),
}

/// What a file is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) sha256: [u8; 32],
    pub(super) size_bytes: u64,
    pub(super) executable: bool,
}

impl Manifest {
    /// The tree that this is the manifest of.
    pub(super) fn tree(&self) -> Tree {
        let mut hash = Sha256::new_with_prefix(FORM);
        let mut tree = Tree {
            digest: String::new(),
            size_bytes: 0,
            files: 0,
        };
        for (path, node) in &self.nodes {
            match node {
                Node::Folder => hash.update(b"folder"),
                Node::File(content) => {
                    let kind: &[u8] = if content.executable {
                        b"program"
                    } else {
                        b"file"
                    };
                    hash.update(kind);
                    hash.update(b" ");
                    hash.update(hex(&content.sha256));
                    tree.size_bytes = tree.size_bytes.saturating_add(content.size_bytes);
                    tree.files += 1;
                }
                Node::Link(target) => {
                    hash.update(b"link ");
                    field(&mut hash, target.as_os_str());
                }
            }
            hash.update(b" ");
            field(&mut hash, path);
            hash.update(b"\n");
        }
        tree.digest = hex(&hash.finalize().into());
        tree
    }
}

/// A path with its end marked by a byte that none can hold.
fn field(hash: &mut Sha256, path: &OsStr) {
    hash.update(path.as_encoded_bytes());
    hash.update(b"\0");
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8; 32]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(*byte)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stored form: deployed functions name their code by this digest.
    #[test]
    fn the_digest_of_a_manifest_never_changes() {
        let file = |executable| {
            Node::File(Content {
                sha256: [7; 32],
                size_bytes: 3,
                executable,
            })
        };
        let nodes = [
            ("bin", Node::Folder),
            ("bin/run", file(true)),
            ("bin/start", Node::Link("run".into())),
            ("readme", file(false)),
        ];
        let nodes = nodes
            .into_iter()
            .map(|(path, node)| (path.into(), node))
            .collect();
        let tree = Manifest { nodes }.tree();
        expect_test::expect![[r#"
            Tree {
                digest: "88a9b61b9eb71d1b01b9ca3625884099066bb421333d81daf604825e51bfd8c9",
                size_bytes: 6,
                files: 2,
            }
        "#]]
        .assert_debug_eq(&tree);
    }
}
