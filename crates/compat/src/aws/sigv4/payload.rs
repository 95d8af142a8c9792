//! The body of a signed request: what is claimed of it, and a body that is held to the claim
//! while it is read.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use sha2::{Digest as _, Sha256};

use super::{Problem, UNSIGNED_PAYLOAD};
use crate::{Body, BodyError};

/// What a request says of its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) enum Claim {
    /// Nothing: it is signed with the digest of what is sent.
    Absent,
    /// Its SHA-256, as hexadecimal digits.
    Digest(String),
    /// That it is not signed.
    Unsigned,
    /// That it comes in chunks, each signed or with a checksum behind it. Nothing reads these
    /// yet; what begins with the words below is one of them.
    Chunked,
    /// Nothing that makes sense.
    Odd,
}

impl Claim {
    pub(super) fn of(value: &str) -> Self {
        if value == UNSIGNED_PAYLOAD {
            Self::Unsigned
        } else if value.starts_with("STREAMING-") {
            Self::Chunked
        } else if hex_bytes(value).is_some() {
            Self::Digest(value.to_owned())
        } else {
            Self::Odd
        }
    }

    /// The canonical payload of it.
    pub(in super::super) fn unsigned() -> &'static str {
        UNSIGNED_PAYLOAD
    }
}

/// A body that ends with [`Problem::OtherPayload`] where its digest is not the one that was
/// claimed: whoever reads it must read it to its end before acting on it.
pub(in super::super) fn checked(body: Body, digest: &str) -> Body {
    let wanted = hex_bytes(digest).unwrap_or_default();
    let checked = Checked {
        inner: body,
        digest: Sha256::new(),
        wanted,
        over: false,
    };
    checked.boxed()
}

struct Checked {
    inner: Body,
    digest: Sha256,
    wanted: [u8; 32],
    over: bool,
}

impl Checked {
    fn holds(&self) -> bool {
        let found: [u8; 32] = self.digest.clone().finalize().into();
        found == self.wanted
    }
}

impl http_body::Body for Checked {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    self.digest.update(data);
                }
                polled
            }
            Poll::Ready(None) if !self.over => {
                self.over = true;
                if self.holds() {
                    Poll::Ready(None)
                } else {
                    Poll::Ready(Some(Err(Problem::OtherPayload.into())))
                }
            }
            _ => polled,
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The SHA-256 of bytes, as hexadecimal digits.
pub(in super::super) fn hex_digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

/// 32 bytes of 64 hexadecimal digits in lower case.
pub(super) fn hex_bytes(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return None;
    };
    let bytes: Option<Vec<u8>> = pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
        .collect();
    bytes?.try_into().ok()
}
