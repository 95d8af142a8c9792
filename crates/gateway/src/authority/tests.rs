//! What the authority vouches for, and how it is kept.

use std::os::unix::fs::PermissionsExt as _;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use super::*;
use crate::tls::Tls;

fn opened(folder: &Path) -> Authority {
    Authority::open(folder, Arc::new(store::SystemClock::new())).unwrap()
}

/// Whether a client that trusts this certificate agrees with what the authority shows it for a
/// name.
async fn agrees(authority: Authority, trusted: &str, name: &'static str) -> bool {
    let mut roots = RootCertStore::empty();
    let trusted = CertificateDer::from_pem_slice(trusted.as_bytes()).unwrap();
    roots.add(trusted).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tls = Tls::of(authority).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = async {
        let (stream, _) = listener.accept().await.unwrap();
        tls.accept(stream).await.is_ok()
    };
    let asked = async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from(name).unwrap();
        let connector = TlsConnector::from(Arc::new(client));
        connector.connect(name, stream).await.is_ok()
    };
    let (served, asked) = tokio::join!(served, asked);
    served && asked
}

#[tokio::test]
async fn clients_agree_for_names_that_lead_home_and_for_no_others() {
    let folder = tempfile::tempdir().unwrap();
    for (name, expected) in [
        ("lambda.us-east-1.amazonaws.com", true),
        ("sts.amazonaws.com", true),
        ("a.b.c.s3.eu-west-1.amazonaws.com", true),
        ("id.lambda-url.us-east-1.on.aws", true),
        ("lambda.eu-west-1.api.aws", true),
        ("sqs.cn-north-1.amazonaws.com.cn", true),
        ("app.localhost", true),
        ("localhost", true),
        ("127.0.0.1", true),
        ("example.org", false),
        ("evilamazonaws.com", false),
        ("amazonaws.com.evil.org", false),
    ] {
        let authority = opened(folder.path());
        let trusted = authority.certificate().to_owned();
        assert_eq!(agrees(authority, &trusted, name).await, expected, "{name}");
    }
}

#[tokio::test]
async fn what_was_trusted_before_a_restart_is_trusted_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let before = opened(folder.path()).certificate().to_owned();
    assert!(agrees(opened(folder.path()), &before, "sts.amazonaws.com").await);
    let elsewhere = tempfile::tempdir().unwrap();
    assert!(!agrees(opened(elsewhere.path()), &before, "sts.amazonaws.com").await);
}

#[test]
fn the_key_is_its_owners_alone_and_is_made_again_where_it_is_none() {
    let folder = tempfile::tempdir().unwrap();
    opened(folder.path());
    let file = folder.path().join(KEY);
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let first = fs::read_to_string(&file).unwrap();
    opened(folder.path());
    assert_eq!(fs::read_to_string(&file).unwrap(), first);
    for broken in [&b"torn"[..], b"", b"\xff\xfe"] {
        fs::write(&file, broken).unwrap();
        opened(folder.path());
        let made = fs::read_to_string(&file).unwrap();
        assert!(made.contains("PRIVATE KEY") && made != first, "{made}");
    }
    let listed: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(listed.len(), 1, "{listed:?}");
}

#[test]
fn certificates_are_kept_but_not_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let authority = opened(folder.path());
    let first = authority.certificate_for("a0.localhost").unwrap();
    let again = authority.certificate_for("A0.localhost.").unwrap();
    assert!(Arc::ptr_eq(&first, &again));
    for number in 1..=KEPT_MAX + 20 {
        let name = format!("a{number}.localhost");
        assert!(authority.certificate_for(&name).is_some());
    }
    let kept = authority.kept.lock();
    assert_eq!((kept.by_name.len(), kept.order.len()), (KEPT_MAX, KEPT_MAX));
    drop(kept);
    assert!(!Arc::ptr_eq(
        &first,
        &authority.certificate_for("a0.localhost").unwrap()
    ));
    let long = format!("{}.localhost", "a.".repeat(130));
    assert!(authority.certificate_for(&long).is_none());
}
