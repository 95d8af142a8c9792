//! A certificate authority of the platform's own, which vouches for the names that lead to it
//! inside sandboxes. It is trusted there only, and can speak for no other names; its key stays in
//! the platform's data folder.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use model::home;
use parking_lot::Mutex;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints, SerialNumber,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use store::Clock;

/// Certificates that are kept (ours: a program speaks to a few services of a few regions). They
/// are quick to make again.
const KEPT_MAX: usize = 256;

/// How long a certificate is good for, in days, and how long it is given out: instances live for
/// hours, and clocks may differ.
const GOOD_DAYS: i64 = 60;
const GIVEN_DAYS: i64 = 30;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// First and last year of the authority's certificate, which is made anew at each start and never
/// outlives its folder. The last that the older of the two forms of time can name.
const FIRST_YEAR: i32 = 2020;
const LAST_YEAR: i32 = 2049;

/// Where the key is, in the authority's folder.
const KEY: &str = "key.pem";

/// Longest name that gets a certificate, in bytes: of a host (RFC 1035).
const NAME_BYTES_MAX: usize = 253;

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its key can be neither read nor kept.
    #[error("keep the key of sandboxes' certificates in {file}: {cause}", file = file.display())]
    Key {
        /// The file.
        file: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A key or a certificate cannot be made.
    #[error("make certificates for sandboxes: {0}")]
    Make(#[from] rcgen::Error),
    /// What was made is of no use.
    #[error("use certificates for sandboxes: {0}")]
    Use(#[from] rustls::Error),
}

/// The authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
    /// Of all certificates for names.
    key: KeyPair,
    signing: Arc<dyn rustls::sign::SigningKey>,
    kept: Mutex<Kept>,
    clock: Arc<dyn Clock>,
}

/// Certificates by name, and the names in the order in which they were made.
#[derive(Debug, Default)]
struct Kept {
    by_name: BTreeMap<String, Made>,
    order: VecDeque<String>,
}

#[derive(Debug, Clone)]
struct Made {
    certificate: Arc<CertifiedKey>,
    made_ms: i64,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// The authority whose key is in this folder; folder and key are made where they are missing,
    /// for nobody but their owner.
    pub fn open(folder: &Path, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let file = folder.join(KEY);
        let own = own_key(folder).map_err(|cause| Error::Key { file, cause })??;
        let params = own_params(&*clock);
        let certificate = params.self_signed(&own)?.pem();
        let key = KeyPair::generate()?;
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let signing = rustls::crypto::ring::sign::any_ecdsa_type(&der)?;
        Ok(Self {
            issuer: Issuer::new(params, own),
            certificate,
            key,
            signing,
            kept: Mutex::default(),
            clock,
        })
    }

    /// What is to be trusted, in PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// The certificate for a name that leads to the platform; none for others.
    fn certificate_for(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        if name.len() > NAME_BYTES_MAX || home::of(name).is_none() {
            return None;
        }
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let now_ms = i64::try_from(self.clock.now_ms()).ok()?;
        let kept = self.kept.lock().by_name.get(&name).cloned();
        if let Some(made) = kept
            && (0..GIVEN_DAYS * DAY_MS).contains(&(now_ms - made.made_ms))
        {
            return Some(made.certificate);
        }
        let certificate = Arc::new(self.make(&name, now_ms)?);
        let made = Made {
            certificate: Arc::clone(&certificate),
            made_ms: now_ms,
        };
        self.kept.lock().keep(name, made);
        Some(certificate)
    }

    fn make(&self, name: &str, now_ms: i64) -> Option<CertifiedKey> {
        let mut params = CertificateParams::new([name.to_owned()]).ok()?;
        if name == home::LOCALHOST {
            let loopback = rcgen::SanType::IpAddress(Ipv4Addr::LOCALHOST.into());
            params.subject_alt_names.push(loopback);
        }
        params.distinguished_name = named("Dayfly");
        params.serial_number = Some(serial(&*self.clock));
        let (year, month, day) = date(now_ms - DAY_MS)?;
        params.not_before = rcgen::date_time_ymd(year, month, day);
        let (year, month, day) = date(now_ms + GOOD_DAYS * DAY_MS)?;
        params.not_after = rcgen::date_time_ymd(year, month, day);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let made = params.signed_by(&self.key, &self.issuer).ok()?;
        let chain = vec![made.der().clone()];
        Some(CertifiedKey::new(chain, Arc::clone(&self.signing)))
    }
}

impl ResolvesServerCert for Authority {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // Who goes by an address names nobody.
        self.certificate_for(hello.server_name().unwrap_or(home::LOCALHOST))
    }
}

impl Kept {
    fn keep(&mut self, name: String, made: Made) {
        if self.by_name.insert(name.clone(), made).is_none() {
            self.order.push_back(name);
        }
        while self.by_name.len() > KEPT_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_name.remove(&oldest);
        }
    }
}

/// The authority's own certificate. Its key alone is what is kept: certificates made before under
/// the same key go on being good.
fn own_params(clock: &dyn Clock) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named("Dayfly, inside sandboxes only");
    params.serial_number = Some(serial(clock));
    params.not_before = rcgen::date_time_ymd(FIRST_YEAR, 1, 1);
    params.not_after = rcgen::date_time_ymd(LAST_YEAR, 12, 31);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let names = home::SUFFIXES.into_iter().chain([home::LOCALHOST]);
    let mut permitted: Vec<_> = names
        .map(|name| GeneralSubtree::DnsName(name.to_owned()))
        .collect();
    let loopback = CidrSubnet::from_v4_prefix([127, 0, 0, 0], 8);
    permitted.push(GeneralSubtree::IpAddress(loopback));
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: permitted,
        excluded_subtrees: Vec::new(),
    });
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut full = DistinguishedName::new();
    full.push(DnType::CommonName, name);
    full
}

fn serial(clock: &dyn Clock) -> SerialNumber {
    let mut bytes = [0; 16];
    clock.random(&mut bytes);
    SerialNumber::from_slice(&bytes)
}

/// Year, month and day that a time is in.
fn date(at_ms: i64) -> Option<(i32, u8, u8)> {
    let date = Timestamp::from_millisecond(at_ms).ok()?;
    let date = date.to_zoned(TimeZone::UTC).date();
    let (month, day) = (date.month().try_into(), date.day().try_into());
    Some((date.year().into(), month.ok()?, day.ok()?))
}

/// The key that is kept; a new one where there is none, or where what is there is no key.
fn own_key(folder: &Path) -> io::Result<Result<KeyPair, rcgen::Error>> {
    let file = folder.join(KEY);
    match fs::read_to_string(&file) {
        Ok(text) => {
            if let Ok(key) = KeyPair::from_pem(&text) {
                return Ok(Ok(key));
            }
            tracing::warn!(file = %file.display(), "not a key; a new one takes its place");
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {}
        Err(error) => return Err(error),
    }
    let key = match KeyPair::generate() {
        Ok(key) => key,
        Err(error) => return Ok(Err(error)),
    };
    keep(folder, &file, &key.serialize_pem())?;
    Ok(Ok(key))
}

/// Whole or not at all, and read by nobody else at any time.
fn keep(folder: &Path, file: &Path, text: &str) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let new = file.with_extension("new");
    let _ = fs::remove_file(&new);
    let mut opened = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    opened.write_all(text.as_bytes())?;
    opened.sync_all()?;
    fs::rename(&new, file)
}

#[cfg(test)]
mod tests;
