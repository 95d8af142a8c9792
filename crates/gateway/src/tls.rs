//! TLS for listeners: a certificate and its key from files, which can be read again while
//! connections go on. It asks no client for a certificate.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::authority::Authority;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read, or is not what it should be.
    #[error("read {what} from {file}: {cause}", file = file.display())]
    File {
        /// What it should hold.
        what: &'static str,
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// Certificate and key do not belong together, or are of no use.
    #[error("use the certificate in {certificate} with the key in {key}: {cause}",
        certificate = certificate.display(), key = key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong with them.
        cause: rustls::Error,
    },
}

/// What listeners speak. A handle.
#[derive(Clone)]
pub struct Tls {
    /// Certificate and key, where they are of files.
    files: Option<(PathBuf, PathBuf)>,
    config: Arc<ArcSwap<ServerConfig>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads a certificate, with those that lead up to its root behind it, and its key, both in
    /// PEM.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, Error> {
        let config = read(certificate, key)?;
        Ok(Self {
            files: Some((certificate.to_owned(), key.to_owned())),
            config: Arc::new(ArcSwap::from_pointee(config)),
        })
    }

    /// Speaks for the names that an authority vouches for.
    pub fn of(authority: Authority) -> Result<Self, crate::authority::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(authority));
        config.alpn_protocols = alpn();
        Ok(Self {
            files: None,
            config: Arc::new(ArcSwap::from_pointee(config)),
        })
    }

    /// Reads both files again, for connections from now on. What was read before stays where
    /// that fails.
    pub fn reload(&self) -> Result<(), Error> {
        if let Some((certificate, key)) = &self.files {
            let config = read(certificate, key)?;
            self.config.store(Arc::new(config));
        }
        Ok(())
    }

    pub(crate) async fn accept(&self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        let config = self.config.load_full();
        TlsAcceptor::from(config).accept(stream).await
    }
}

fn read(certificate: &Path, key: &Path) -> Result<ServerConfig, Error> {
    let unread = |what, file: &Path, cause: &dyn fmt::Display| Error::File {
        what,
        file: file.to_owned(),
        cause: cause.to_string(),
    };
    let what = "a certificate";
    let found = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
    let found: Vec<CertificateDer<'static>> =
        found.map_err(|error| unread(what, certificate, &error))?;
    if found.is_empty() {
        return Err(unread(what, certificate, &"there is none in it"));
    }
    let found_key = PrivateKeyDer::from_pem_file(key);
    let found_key = found_key.map_err(|error| unread("a private key", key, &error))?;
    let unusable = |cause| Error::Pair {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        cause,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(found, found_key)
        .map_err(unusable)?;
    config.alpn_protocols = alpn();
    Ok(config)
}

/// What is spoken over it.
fn alpn() -> Vec<Vec<u8>> {
    vec![b"http/1.1".to_vec()]
}
