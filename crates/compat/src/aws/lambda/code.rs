//! Where the code of a function or layer can be had again: an address that is good for ten
//! minutes, as the service's own is, and that needs no signature.

mod download;

use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use model::{Archive, Code, Digest, Fault};
use sha2::{Digest as _, Sha256};

use super::super::text;
use crate::aws::Aws;
use crate::{Body, full};
use download::Download;

/// What such an address begins with.
const PATH: &str = "/lambda-code/";

/// How long an address is good, in seconds (recorded from the service).
const GOOD_S: u64 = 600;

/// Signs addresses of this process.
#[derive(Debug, Clone)]
pub(in crate::aws) struct Secret([u8; 32]);

impl Secret {
    pub(in crate::aws) fn new(clock: &dyn store::Clock) -> Self {
        let mut secret = [0; 32];
        clock.random(&mut secret);
        Self(secret)
    }

    /// A keyed hash: the key stands on both sides of what is of a fixed form.
    fn sign(&self, text: &str) -> String {
        let hash = Sha256::new()
            .chain_update(self.0)
            .chain_update(text)
            .chain_update(self.0);
        model::id::hex(&hash.finalize())
    }
}

/// Whether a path is that of such an address.
pub(in crate::aws) fn is_path(path: &str) -> bool {
    path.starts_with(PATH)
}

/// What an address leads to.
enum Form {
    /// An archive that was sent here.
    Archive,
    /// A folder, of which an archive is made.
    Folder,
}

impl Form {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Archive => "archive",
            Self::Folder => "folder",
        }
    }
}

impl Aws {
    /// An address from which code can be had as an archive.
    pub(super) fn location(&self, code: &Code) -> String {
        let (form, tree) = match &code.archive {
            Some(archive) => (Form::Archive, &archive.tree),
            None => (Form::Folder, &code.digest),
        };
        let until = self.clock.now_ms() / 1000 + GOOD_S;
        let path = format!("{PATH}{}/{tree}", form.as_str());
        let signature = self.secret.sign(&format!("{path}/{until}"));
        let endpoint = &self.settings.endpoint;
        format!("{endpoint}{path}?until={until}&signature={signature}")
    }

    /// Answers a request for such an address.
    pub(in crate::aws) async fn send_code(&self, request: &Parts) -> Response<Body> {
        if !matches!(request.method, Method::GET | Method::HEAD) {
            let text = "code is only read here\n";
            return plain(StatusCode::METHOD_NOT_ALLOWED, text);
        }
        let path = request.uri.path();
        let query = request.uri.query().unwrap_or_default();
        let parameter = |name| text::parameter(query, name).unwrap_or_default();
        let until = parameter("until");
        let signed = self.secret.sign(&format!("{path}/{until}"));
        let good = until
            .parse()
            .is_ok_and(|until: u64| until >= self.clock.now_ms() / 1000);
        if !good || !same(&signed, &parameter("signature")) {
            let text = "this address is not, or no longer, good; ask GetFunction for another\n";
            return plain(StatusCode::FORBIDDEN, text);
        }
        let Some(code) = named(path) else {
            return plain(StatusCode::NOT_FOUND, "there is no such code\n");
        };
        match self.engine.packed(&code).await {
            Ok(packed) => {
                let mut response = Response::new(Download::new(packed).boxed());
                let kind = HeaderValue::from_static("application/zip");
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
                response
            }
            Err(error) if error.fault() == Fault::Busy => {
                let text = "too much code is being sent; try again\n";
                let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, text);
                let soon = HeaderValue::from_static("1");
                response.headers_mut().insert(header::RETRY_AFTER, soon);
                response
            }
            Err(engine::Error::Store(store::Error::Missing { .. })) => {
                plain(StatusCode::NOT_FOUND, "this code is no longer kept\n")
            }
            Err(error) => {
                tracing::warn!(%path, %error, "send code");
                let text = "this code cannot be sent; the daemon's own log says why\n";
                plain(StatusCode::INTERNAL_SERVER_ERROR, text)
            }
        }
    }
}

/// The code that a path names.
fn named(path: &str) -> Option<Code> {
    let (form, tree) = path.strip_prefix(PATH)?.split_once('/')?;
    let tree = tree.parse::<Digest>().ok()?;
    let mut code = Code::folder(tree.clone(), 0);
    if form == Form::Archive.as_str() {
        code.archive = Some(Archive {
            sha256: tree.clone(),
            size_bytes: 0,
            tree,
        });
    }
    Some(code)
}

/// Compares without telling by the time it takes where two texts differ.
fn same(one: &str, other: &str) -> bool {
    let differing = |(a, b): (u8, u8)| a ^ b;
    let differ = one.bytes().zip(other.bytes()).map(differing);
    one.len() == other.len() && differ.fold(0, |all, bits| all | bits) == 0
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(full(text));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
