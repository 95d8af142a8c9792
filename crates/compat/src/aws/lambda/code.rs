//! Where the code of a function or layer can be had again: an address that is good for ten
//! minutes, as the service's own is, and that needs no signature.

use std::fmt::Write as _;

use http::request::Parts;
use http::{HeaderValue, Response, StatusCode, header};
use model::{Archive, Code};
use sha2::{Digest as _, Sha256};

use super::super::text;
use crate::aws::Aws;
use crate::{Body, full};

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

impl Aws {
    /// An address from which the archive can be had that the code came as.
    pub(super) fn location(&self, code: &Code) -> Option<String> {
        let tree = &code.archive.as_ref()?.tree;
        let until = self.clock.now_ms() / 1000 + GOOD_S;
        let size = code.archive.as_ref()?.size_bytes;
        let signed = format!("{tree}/{size}/{until}");
        let mut url = format!("{}{PATH}{tree}", self.settings.endpoint);
        // Writing into a string cannot fail.
        let _ = write!(
            url,
            "?size={size}&until={until}&signature={}",
            self.secret.sign(&signed)
        );
        Some(url)
    }

    /// Answers a request for such an address.
    pub(in crate::aws) async fn send_code(&self, request: &Parts) -> Response<Body> {
        let tree = request.uri.path().strip_prefix(PATH).unwrap_or_default();
        let query = request.uri.query().unwrap_or_default();
        let parameter = |name| text::parameter(query, name).unwrap_or_default();
        let (size, until) = (parameter("size"), parameter("until"));
        let signed = self.secret.sign(&format!("{tree}/{size}/{until}"));
        let good = until
            .parse()
            .is_ok_and(|until: u64| until >= self.clock.now_ms() / 1000);
        if !good || !same(&signed, &parameter("signature")) {
            let text = "this address is not, or no longer, good; ask GetFunction for another\n";
            return plain(StatusCode::FORBIDDEN, text);
        }
        let (Ok(tree), Ok(size_bytes)) = (tree.parse::<model::Digest>(), size.parse()) else {
            return plain(StatusCode::NOT_FOUND, "there is no such code\n");
        };
        let code = Code {
            archive: Some(Archive {
                sha256: tree.clone(),
                size_bytes,
                tree: tree.clone(),
            }),
            ..Code::folder(tree, 0)
        };
        match self.engine.archive(&code).await {
            Ok(Some(bytes)) => {
                let mut response = Response::new(full(bytes));
                let kind = HeaderValue::from_static("application/zip");
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
                response
            }
            _ => plain(StatusCode::NOT_FOUND, "this code is no longer kept\n"),
        }
    }
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
