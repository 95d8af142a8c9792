//! A file as a request's body: read twice, once for its digest and once to be sent.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;

use super::sign;

/// What is read at once, in bytes (ours).
const PIECE_BYTES: usize = 256 * 1024;
/// Pieces that wait to be sent (ours).
const PIECES_MAX: usize = 4;

/// The body.
#[derive(Debug)]
pub(super) struct Upload {
    /// SHA-256 of the file, as hexadecimal digits.
    pub(super) digest: String,
    left: u64,
    pieces: mpsc::Receiver<io::Result<Bytes>>,
}

impl Upload {
    pub(super) async fn open(path: &Path) -> io::Result<Self> {
        let mut digest = Sha256::new();
        let mut file = tokio::fs::File::open(path).await?;
        let mut left = 0;
        loop {
            let piece = piece(&mut file).await?;
            if piece.is_empty() {
                break;
            }
            left += piece.len() as u64;
            digest.update(&piece);
        }
        let mut file = tokio::fs::File::open(path).await?;
        let (send, pieces) = mpsc::channel(PIECES_MAX);
        // Ends with the file, or once nobody takes its pieces any more.
        tokio::spawn(async move {
            loop {
                let piece = piece(&mut file).await;
                let last = piece.as_ref().map_or(true, Bytes::is_empty);
                if send.send(piece).await.is_err() || last {
                    return;
                }
            }
        });
        Ok(Self {
            digest: sign::hex(&digest.finalize()),
            left,
            pieces,
        })
    }
}

async fn piece(file: &mut tokio::fs::File) -> io::Result<Bytes> {
    let mut piece = vec![0; PIECE_BYTES];
    let read = file.read(&mut piece).await?;
    piece.truncate(read);
    Ok(piece.into())
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.pieces.poll_recv(cx).map(|piece| match piece {
            Some(Ok(piece)) if piece.is_empty() => None,
            Some(Ok(piece)) => {
                self.left = self.left.saturating_sub(piece.len() as u64);
                Some(Ok(Frame::data(piece)))
            }
            Some(Err(error)) => Some(Err(error)),
            None => None,
        })
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
