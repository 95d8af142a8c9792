//! Binaries in a package that only one version of CPython can load.

use std::path::{Path, PathBuf};

/// Files of one package that are looked at, at most (ours: far more than 250 MB of package has).
const FILES_MAX: usize = 200_000;

/// The first file in these folders that is built for another minor version than this.
pub(super) fn other_abi(folders: &[PathBuf], minor: u32) -> Option<PathBuf> {
    folders.iter().find_map(|folder| {
        let file = search(folder, minor)?;
        Some(
            file.strip_prefix(folder)
                .map_or_else(|_| file.clone(), Path::to_path_buf),
        )
    })
}

fn search(folder: &Path, minor: u32) -> Option<PathBuf> {
    let mut folders = vec![folder.to_path_buf()];
    let mut looked = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).ok()?.flatten() {
            looked += 1;
            if looked > FILES_MAX {
                return None;
            }
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if kind.is_dir() {
                folders.push(entry.path());
            } else if abi_of(&entry.file_name().to_string_lossy()).is_some_and(|abi| abi != minor) {
                return Some(entry.path());
            }
        }
    }
    None
}

/// The minor version that a file such as `_x.cpython-311-x86_64-linux-gnu.so` is built for.
fn abi_of(name: &str) -> Option<u32> {
    let (_, tag) = name.strip_suffix(".so")?.split_once(".cpython-3")?;
    let digits: String = tag.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abi_tags_are_read() {
        let check =
            |name: &str, expected: Option<u32>| assert_eq!(abi_of(name), expected, "{name}");
        check("_imaging.cpython-311-x86_64-linux-gnu.so", Some(11));
        check("_x.cpython-39-x86_64-linux-gnu.so", Some(9));
        check("_x.cpython-313t-x86_64-linux-gnu.so", Some(13));
        check("_rust.abi3.so", None);
        check("libssl.so", None);
        check("cpython-311.txt", None);
    }
}
