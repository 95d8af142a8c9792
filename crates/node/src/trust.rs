//! Whom programs in sandboxes trust: the platform for the names that lead to it, and everybody
//! whom programs of this host trust.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gateway::authority::Authority;
use gateway::tls::Tls;
use store::Clock;

/// Where the authority's key is, and beside it what sandboxes are given, in the data folder.
const FOLDER: &str = "authority";
const TRUSTED: &str = "trusted";

/// The largest bundle of certificates that is taken over, in bytes (ours: common ones have a
/// quarter of a million).
const BUNDLE_BYTES_MAX: u64 = 4 << 20;

/// By which variables programs are told where a host's certificates are, and where they are by
/// default on one distribution or another.
const VARIABLES: [&str; 2] = ["SSL_CERT_FILE", "NIX_SSL_CERT_FILE"];
const PLACES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/ssl/cert.pem",
];

/// Why sandboxes could not be given anybody to trust.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no authority, or no TLS with it.
    #[error(transparent)]
    Authority(#[from] gateway::authority::Error),
    /// A file cannot be written.
    #[error("write the certificates for sandboxes to {file}: {cause}", file = file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

/// What sandboxes trust, and who is trusted there.
#[derive(Debug)]
pub(crate) struct Trust {
    /// The folder that the spawner gives to every sandbox.
    pub(crate) folder: PathBuf,
    /// Whether certificates of this host are among them.
    pub(crate) has_hosts: bool,
    /// For connections out of sandboxes.
    pub(crate) tls: Tls,
}

impl Trust {
    /// Makes what is missing in the data folder, and all that is public anew.
    pub(crate) fn open(data: &Path, clock: &Arc<dyn Clock>) -> Result<Self, Error> {
        let authority = Authority::open(&data.join(FOLDER), Arc::clone(clock))?;
        let folder = data.join(FOLDER).join(TRUSTED);
        let own = authority.certificate();
        let (ca, bundle) = (folder.join("ca.pem"), folder.join("ca-bundle.pem"));
        let unwritten = |file: &Path, cause| Error::Write {
            file: file.to_owned(),
            cause,
        };
        fs::create_dir_all(&folder).map_err(|cause| unwritten(&folder, cause))?;
        fs::write(&ca, own).map_err(|cause| unwritten(&ca, cause))?;
        let hosts = hosts_bundle(|name| std::env::var_os(name).map(PathBuf::from));
        let has_hosts = hosts.is_some();
        match hosts {
            Some(hosts) => fs::write(&bundle, format!("{hosts}\n{own}")),
            // Of an earlier start.
            None => match fs::remove_file(&bundle) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
        }
        .map_err(|cause| unwritten(&bundle, cause))?;
        Ok(Self {
            folder,
            has_hosts,
            tls: Tls::of(authority)?,
        })
    }
}

/// Whom this host trusts, in PEM; none where that is not in one file.
fn hosts_bundle(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<String> {
    let named = VARIABLES.iter().filter_map(|name| variable(name));
    let places = named.chain(PLACES.iter().map(PathBuf::from));
    places.filter_map(|file| certificates(&file)).next()
}

/// The certificates of a file, and no key that may be in it as well; none where there are none.
fn certificates(file: &Path) -> Option<String> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let known = fs::metadata(file).ok()?;
    if !known.is_file() || known.len() > BUNDLE_BYTES_MAX {
        return None;
    }
    let bytes = fs::read(file).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let found: String = text
        .split(BEGIN)
        .skip(1)
        .filter_map(|rest| rest.split_once(END))
        .map(|(certificate, _)| format!("{BEGIN}{certificate}{END}\n"))
        .collect();
    (!found.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_of_the_host_are_taken_over_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bundle.pem");
        let one = "-----BEGIN CERTIFICATE-----\nQQ==\n-----END CERTIFICATE-----\n";
        let key = "-----BEGIN PRIVATE KEY-----\nQQ==\n-----END PRIVATE KEY-----\n";
        fs::write(&file, format!("# caf\u{e9}\n{one}{key}{one}")).unwrap();
        let named = |name: &str| (name == "SSL_CERT_FILE").then(|| file.clone());
        assert_eq!(hosts_bundle(named), Some(format!("{one}{one}")));
        for other in [key, "", "-----BEGIN CERTIFICATE-----\ntorn"] {
            fs::write(&file, other).unwrap();
            assert_eq!(certificates(&file), None);
        }
        assert_eq!(certificates(folder.path()), None);
        assert_eq!(certificates(Path::new("/dev/zero")), None);
    }

    #[test]
    fn sandboxes_are_given_what_is_public() {
        let data = tempfile::tempdir().unwrap();
        let clock: Arc<dyn Clock> = Arc::new(store::SystemClock::new());
        let trust = Trust::open(data.path(), &clock).unwrap();
        let again = Trust::open(data.path(), &clock).unwrap();
        assert_eq!(trust.folder, again.folder);
        for entry in fs::read_dir(&trust.folder).unwrap() {
            let text = fs::read_to_string(entry.unwrap().path()).unwrap();
            assert!(text.contains("BEGIN CERTIFICATE") && !text.contains("PRIVATE"));
        }
    }
}
