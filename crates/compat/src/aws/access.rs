//! Who sends a request: whoever says so where any credentials do, else whoever can sign for it.

use engine::keys::{Identity, Refused};
use http::Request;
use http::request::Parts;
use http::uri::PathAndQuery;
use http_body::Body as _;
use model::limit;

use super::credential::Credential;
use super::sigv4::{Claim, Problem, Protocol, Signature, checked, hex_digest};
use super::{Aws, sts, text};
use crate::Body;
use crate::body::{Uncollected, collect};

/// What is asked of callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing: any credentials do, and an access key of twelve digits is the account.
    Anybody,
    /// A signature with a key of ours.
    Keys,
}

/// A request whose sender is known.
#[derive(Debug)]
pub struct Known {
    /// Who sent it.
    pub identity: Identity,
    /// By which access key.
    pub access_key: String,
    /// For which service.
    pub service: String,
    /// For which region; may be none of ours.
    pub region: String,
    /// The request. Whoever reads its body must read it to its end before acting on it.
    pub request: Request<Body>,
}

impl Known {
    /// What the sender is called, as STS tells.
    pub fn arn(&self) -> String {
        sts::arn(&self.identity)
    }

    /// The sender's id, likewise.
    pub fn user_id(&self) -> String {
        sts::user_id(&self.identity)
    }
}

/// Why a request was not let in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct Denial {
    problem: Problem,
}

impl Denial {
    /// One word for programs.
    pub fn code(&self) -> &'static str {
        self.problem.code(Protocol::RestJson)
    }

    /// Whether there was nothing to verify.
    pub fn is_unsigned(&self) -> bool {
        self.problem == Problem::Missing
    }
}

impl Aws {
    /// Verifies the signature of a request that is for no service of AWS's, but signed as if it
    /// was for one of this name. Its body is held to its digest as it is read.
    pub async fn verify(&self, request: Request<Body>, service: &str) -> Result<Known, Denial> {
        let (parts, body) = request.into_parts();
        let verified = match Signature::read(&parts) {
            Ok(signature) if signature.service != service => Err(Problem::Incomplete(format!(
                "Credential should be scoped to correct service: '{service}'."
            ))),
            Ok(signature) => self.signed(&signature, parts, body, Bodies::Streamed).await,
            Err(problem) => Err(problem),
        };
        verified.map_err(|problem| Denial { problem })
    }

    /// Who sends a request that is for no service of AWS's, as far as that is asked here: whoever
    /// signs it, where any credentials do, else whoever can.
    pub async fn sender(&self, request: Request<Body>, service: &str) -> Result<Known, Denial> {
        if self.settings.access == Access::Keys {
            return self.verify(request, service).await;
        }
        let (parts, body) = request.into_parts();
        if Credential::of(&parts).is_none() {
            let problem = Problem::Missing;
            return Err(Denial { problem });
        }
        Ok(self.named(parts, body))
    }

    /// Who sends a request for a service of AWS's.
    pub(super) async fn admit(&self, parts: Parts, body: Body) -> Result<Known, Problem> {
        match self.settings.access {
            Access::Anybody => Ok(self.named(parts, body)),
            Access::Keys => {
                let signature = Signature::read(&parts)?;
                let bodies = Bodies::Collected;
                self.signed(&signature, parts, body, bodies).await
            }
        }
    }

    /// Whoever the request says: an instance or a session by its token, else an account.
    fn named(&self, parts: Parts, body: Body) -> Known {
        let Credential {
            access_key,
            region,
            service,
        } = Credential::of(&parts).unwrap_or_default();
        let session = token(&parts).and_then(|token| self.engine.keys().session(&token).ok());
        let identity = session.unwrap_or_else(|| {
            let account = access_key.as_str().parse();
            Identity::owner(account.unwrap_or_else(|_| self.settings.account.clone()))
        });
        Known {
            identity,
            access_key,
            service,
            region,
            request: Request::from_parts(parts, body),
        }
    }

    async fn signed(
        &self,
        signature: &Signature,
        mut parts: Parts,
        body: Body,
        bodies: Bodies,
    ) -> Result<Known, Problem> {
        // What costs nothing comes before what reads a body.
        signature.check_time(self.clock.now_ms())?;
        let keys = self.engine.keys();
        let found = keys.find(&signature.access_key, signature.token.as_deref());
        let (identity, secret) = found.map_err(|refused| match refused {
            Refused::UnknownKey => Problem::UnknownKey,
            Refused::InvalidToken => Problem::InvalidToken,
            Refused::Expired => Problem::ExpiredToken,
        })?;
        signature.check_headers(&parts)?;
        let secret = secret.reveal();
        let claim = signature.claim(&parts);
        let (path, body) = match claim {
            Claim::Digest(digest) => {
                let path = signature.verify(&parts, &digest, secret)?;
                let body = checked(body, &digest);
                match bodies {
                    Bodies::Collected if !signature.is_s3() => (path, whole(body).await?),
                    _ => (path, body),
                }
            }
            Claim::Unsigned if signature.is_s3() => {
                (signature.verify(&parts, Claim::unsigned(), secret)?, body)
            }
            Claim::Chunked if signature.is_s3() => return Err(Problem::Chunked),
            Claim::Odd if signature.is_s3() => return Err(Problem::OddPayload),
            Claim::Absent if signature.is_s3() => return Err(Problem::NoPayload),
            // Other services sign what is sent, whatever a header says of it.
            Claim::Absent | Claim::Unsigned | Claim::Chunked | Claim::Odd => {
                let bytes = if body.is_end_stream() {
                    bytes::Bytes::new()
                } else {
                    collected(body).await?
                };
                let path = signature.verify(&parts, &hex_digest(&bytes), secret)?;
                (path, crate::full(bytes))
            }
        };
        if let Some(path) = path {
            parts.uri = at_path(&parts, &path)?;
        }
        Ok(Known {
            identity,
            access_key: signature.access_key.clone(),
            service: signature.service.clone(),
            region: signature.region.clone(),
            request: Request::from_parts(parts, body),
        })
    }
}

/// How bodies are held to what was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bodies {
    /// Before the request goes on.
    Collected,
    /// While they are read.
    Streamed,
}

async fn whole(body: Body) -> Result<Body, Problem> {
    collected(body).await.map(crate::full)
}

async fn collected(body: Body) -> Result<bytes::Bytes, Problem> {
    let max = limit::REQUEST_WITH_CODE_BYTES_MAX;
    collect(body, max).await.map_err(|error| match error {
        Uncollected::TooLarge { .. } => Problem::TooLarge { max },
        Uncollected::NoRoom => Problem::NoRoom,
        Uncollected::Broken(error) => match error.downcast_ref::<Problem>() {
            Some(problem) => problem.clone(),
            None => Problem::Broken,
        },
    })
}

/// The token of a session, wherever it is.
fn token(request: &Parts) -> Option<String> {
    let header = request.headers.get("x-amz-security-token");
    let header = header.and_then(|value| value.to_str().ok());
    header.map(str::to_owned).or_else(|| {
        let query = request.uri.query().unwrap_or_default();
        text::parameter(query, "X-Amz-Security-Token")
    })
}

/// The request's address with another path.
fn at_path(request: &Parts, path: &str) -> Result<http::Uri, Problem> {
    let mut uri = request.uri.clone().into_parts();
    let text = match request.uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let changed = text.parse::<PathAndQuery>().ok().and_then(|path| {
        uri.path_and_query = Some(path);
        http::Uri::from_parts(uri).ok()
    });
    // It was made of segments of an address that was one.
    changed.ok_or(Problem::Mismatch)
}

#[cfg(test)]
mod tests;
