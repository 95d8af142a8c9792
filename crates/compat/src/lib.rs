//! Other people's outer contracts: each file translates and calls one verb. It holds no policy
//! and keeps nothing that outlives a request.

pub mod aws;
mod body;
#[cfg(test)]
#[path = "../../engine/tests/door/fixture.rs"]
mod fixture;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use http_body_util::combinators::BoxBody;

/// What goes wrong with a body in transit.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A body in either direction, whatever makes it.
pub type Body = BoxBody<Bytes, BodyError>;

fn full(bytes: impl Into<Bytes>) -> Body {
    http_body_util::Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed()
}
