//! HTTP in, function, HTTP out: the server loop and function URLs. It keeps nothing that
//! outlives a request.

pub mod authority;
#[cfg(test)]
#[path = "../../engine/tests/door/fixture.rs"]
mod fixture;
pub mod guard;
pub mod listen;
pub mod tls;
pub mod url;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use http_body_util::combinators::BoxBody;

/// What goes wrong with a body in transit.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A body in either direction, whatever makes it.
pub type Body = BoxBody<Bytes, BodyError>;

/// A body of bytes that are all there.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    http_body_util::Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed()
}
