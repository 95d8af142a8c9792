//! An archive on its way to whoever asked for it, a piece at a time.

use std::io::{self, Read as _};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use engine::Packed;
use http_body::{Body, Frame, SizeHint};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::BodyError;

/// How much is read at once, in bytes (ours).
const PIECE_BYTES: usize = 256 * 1024;

/// The body of such an answer. The archive is closed when it is dropped, or when the piece that is
/// being read then is there.
#[derive(Debug)]
pub(super) struct Download {
    reading: Reading,
    /// What is still to come, in bytes.
    left: u64,
}

#[derive(Debug)]
enum Reading {
    Idle(Packed),
    Busy(JoinHandle<io::Result<(Packed, Bytes)>>),
    Over,
}

impl Download {
    pub(super) fn new(packed: Packed) -> Self {
        Self {
            left: packed.size_bytes,
            reading: Reading::Idle(packed),
        }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.left == 0 {
            self.reading = Reading::Over;
        }
        let mut busy = match std::mem::replace(&mut self.reading, Reading::Over) {
            Reading::Over => return Poll::Ready(None),
            Reading::Idle(packed) => spawn_blocking(move || piece(packed)),
            Reading::Busy(busy) => busy,
        };
        let read = match Pin::new(&mut busy).poll(cx) {
            Poll::Ready(read) => read,
            Poll::Pending => {
                self.reading = Reading::Busy(busy);
                return Poll::Pending;
            }
        };
        let read = read.map_err(io::Error::other).and_then(|read| read);
        Poll::Ready(Some(match read {
            Ok((packed, bytes)) => {
                self.left = self.left.saturating_sub(bytes.len() as u64);
                self.reading = Reading::Idle(packed);
                Ok(Frame::data(bytes))
            }
            Err(error) => Err(error.into()),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// The next piece of what was said to be there.
fn piece(packed: Packed) -> io::Result<(Packed, Bytes)> {
    let mut bytes = vec![0; PIECE_BYTES];
    let count = (&packed.file).read(&mut bytes)?;
    if count == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    bytes.truncate(count);
    Ok((packed, bytes.into()))
}
