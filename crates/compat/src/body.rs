//! Request bodies, collected within a limit.

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt as _;

use crate::Body;

/// A body that was not collected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Uncollected {
    /// It has more bytes than it may have.
    #[error("the body has {size} bytes")]
    TooLarge {
        /// Its size, in bytes: what was announced, else what had come by then.
        size: u64,
    },
    /// Bodies of others take all the room; it may be sent again.
    #[error("too many request bodies are on their way")]
    NoRoom,
    /// It ended early or was cut off.
    #[error("the body ended: {0}")]
    Broken(crate::BodyError),
}

impl Uncollected {
    /// The server says by a busy resource that there is no room.
    fn of(error: crate::BodyError) -> Self {
        match error.downcast_ref::<std::io::Error>() {
            Some(error) if error.kind() == std::io::ErrorKind::ResourceBusy => Self::NoRoom,
            _ => Self::Broken(error),
        }
    }
}

/// Collects a body of `bytes_max` at most. Of one that says that it is larger nothing is read: a client
/// may wait for leave to send it, and what others send is the listener's to deal with.
pub(crate) async fn collect(mut body: Body, bytes_max: usize) -> Result<Bytes, Uncollected> {
    let announced = body.size_hint().lower();
    if announced > bytes_max as u64 {
        return Err(Uncollected::TooLarge { size: announced });
    }
    let mut whole = BytesMut::new();
    let mut only = Bytes::new();
    let mut size = 0_u64;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(Uncollected::of)?.into_data() else {
            continue;
        };
        size += data.len() as u64;
        if size > bytes_max as u64 {
            return Err(Uncollected::TooLarge { size });
        }
        if size == data.len() as u64 {
            // Most bodies come in one piece, which need not be copied.
            only = data;
        } else {
            whole.extend_from_slice(&std::mem::take(&mut only));
            whole.extend_from_slice(&data);
        }
    }
    Ok(if whole.is_empty() {
        only
    } else {
        whole.freeze()
    })
}
