//! A launcher at the other end of a socket: hands invocations over and takes the answers.
//! Whoever waits for an answer reads and writes the socket itself; no task stands between.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use bytes::{Buf, Bytes, BytesMut};
use engine::port::{Call, Sink, Unsent};
use model::limit::RESPONSE_BYTES_MAX;
use rustix::net::RecvFlags;
use serde::Serialize;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::unix::pipe::Sender;
use tokio::sync::mpsc;

use super::frame::{
    self, CREDIT_BYTES_INITIAL, CREDIT_BYTES_STREAMED, FLAG_AGAIN, FLAG_ERROR, FLAG_LAST,
    FLAG_REFUSED, FLAG_STOOD, FLAG_TOO_LARGE, Frame, Kind, Malformed, NOBODY,
};
use super::words;
use crate::sdk::Heard;

/// Room for what is read at once, in bytes.
const READ_BYTES: usize = 8 * 1024;
/// Room of the pipe once a body did not fit it, in bytes.
const PIPE_BYTES: usize = 256 * 1024;
/// Answers up to this size are copied out, so that the read buffer is free again, in bytes.
const COPIED_BYTES: usize = 4 * 1024;
/// Longest name a launcher may give itself, in bytes.
const HELLO_BYTES_MAX: usize = 256;
/// Longest reason that a launcher is told, in bytes.
const REASON_BYTES_MAX: usize = 4 * 1024;

/// A launcher's socket.
#[derive(Debug)]
pub(crate) struct Wire {
    /// Watched for reading only: else the event loop wakes up every time that the launcher has
    /// read something, just to learn that it could write.
    socket: AsyncFd<OwnedFd>,
    /// The other way; must not block.
    requests: OwnedFd,
    received: BytesMut,
    out: Vec<u8>,
    /// Where what the launcher asked for last is told of, until it is answered.
    bringing: Option<mpsc::Receiver<Heard>>,
    /// Whether that is being fetched.
    fetching: bool,
}

/// Who hears what a launcher has to say beside its answers.
pub(crate) trait Listener: Sync {
    /// It writes a record of the log.
    fn record(&self, record: Record);

    /// The platform has something to say to whoever reads the function's log.
    fn tell(&self, text: String);

    /// The function needs something that Lambda's runtime brings. None where nothing can be fetched.
    fn bring(&self, name: &str) -> Option<mpsc::Receiver<Heard>>;
}

/// Why no answer can come any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Lost {
    /// The launcher's end is closed: its process has ended or is about to.
    #[error("the launcher closed its end")]
    Closed,
    /// What came is not the protocol. The function can reach this socket, too.
    #[error("the launcher sent no frame: {0}")]
    Malformed(#[from] Malformed),
    /// A frame that has no place here.
    #[error("the launcher sent {0:?} out of turn")]
    OutOfTurn(Kind),
}

impl From<io::Error> for Lost {
    /// Every failure of a socket pair means that the other end is gone.
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

/// How initialisation ended.
#[derive(Debug)]
pub(crate) enum Loaded {
    /// The function is loaded.
    Ready,
    /// It could not be; the error as callers see it.
    Failed(Bytes),
    /// It could not be, but would be in a new process.
    Again,
}

/// How an invocation ended, as the function's process told it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// It answered.
    Answer(Bytes),
    /// It answered more than it may.
    TooLarge,
    /// It has streamed its answer, whole.
    Streamed,
    /// It streams more than it may, and has not ended.
    StreamTooLarge,
    /// It failed; the error as callers see it.
    Failed {
        /// The error.
        payload: Bytes,
        /// Whether the process ends after this.
        last: bool,
    },
}

/// A record of the log that came as a frame: milliseconds since the Unix epoch, and text.
pub(crate) type Record = (u64, String);

/// What goes with an invocation besides its body.
#[derive(Serialize)]
struct Head<'a> {
    id: &'a str,
    deadline_ms: u64,
    arn: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_context: Option<&'a str>,
}

impl Wire {
    /// A wire over the platform's ends of the socket pair, and of the pipe that the launcher
    /// reads from. Neither may block.
    pub(crate) fn new(control: UnixStream, requests: OwnedFd) -> io::Result<Self> {
        #[expect(
            deprecated,
            reason = "sound for an OwnedFd; what replaces it is unsafe for the sake of other types"
        )]
        let socket = AsyncFd::with_interest(OwnedFd::from(control), Interest::READABLE)?;
        Ok(Self {
            socket,
            requests,
            received: BytesMut::new(),
            out: Vec::new(),
            bringing: None,
            fetching: false,
        })
    }

    /// Whether nothing was received that was not looked at, or is not answered.
    pub(crate) fn is_read(&self) -> bool {
        self.received.is_empty() && self.bringing.is_none()
    }

    /// Waits until the interpreter is up; answers with its name and version.
    pub(crate) async fn hello(&mut self) -> Result<String, Lost> {
        let frame = read(&self.socket, &mut self.received).await?;
        if frame.kind != Kind::Hello || frame.payload.len() > HELLO_BYTES_MAX {
            return Err(Lost::OutOfTurn(frame.kind));
        }
        Ok(String::from_utf8_lossy(&frame.payload).into_owned())
    }

    /// Has the function loaded, with these environment variables besides those it started with.
    pub(crate) async fn initialise(
        &mut self,
        variables: &[(String, String)],
        listener: &impl Listener,
    ) -> Result<Loaded, Lost> {
        let mut settings = Vec::new();
        for (name, value) in variables {
            settings.extend_from_slice(format!("{name}={value}\0").as_bytes());
        }
        self.out.clear();
        frame::encode(&mut self.out, Kind::Init, 0, NOBODY, &settings);
        self.write().await?;
        let mut body = Body::default();
        loop {
            let frame = self.next(listener).await?;
            match frame.kind {
                Kind::Ready => return Ok(Loaded::Ready),
                Kind::Data => self.take_part(&mut body, NOBODY, &frame.payload).await?,
                Kind::InitError if frame.flags & FLAG_AGAIN != 0 => return Ok(Loaded::Again),
                Kind::InitError => return Ok(Loaded::Failed(error(body, frame.payload))),
                other => return Err(Lost::OutOfTurn(other)),
            }
        }
    }

    /// Hands an invocation over and waits for its end.
    pub(crate) async fn exchange(
        &mut self,
        call: &Call,
        arn: &str,
        listener: &impl Listener,
    ) -> Result<Reply, Lost> {
        let id = id_bytes(call.id.as_str());
        self.write_invocation(id, call, arn).await?;
        let mut body = Body::default();
        let mut stream = None;
        loop {
            let frame = self.next(listener).await?;
            if frame.id != id {
                continue;
            }
            let is_part = frame.kind == Kind::Data && frame.flags & FLAG_ERROR == 0
                || frame.kind == Kind::End;
            if let Some(stream) = stream.as_mut().filter(|_| is_part) {
                if self.pass_on(stream, id, frame.payload).await? == Some(Unsent::TooLarge) {
                    return Ok(Reply::StreamTooLarge);
                }
                if frame.kind == Kind::End {
                    return Ok(Reply::Streamed);
                }
                if frame.flags & FLAG_LAST != 0 {
                    stream.sink.finish().await;
                }
                continue;
            }
            match (frame.kind, &call.sink) {
                (Kind::Begin, Some(sink)) if stream.is_none() => {
                    let content_type = String::from_utf8_lossy(&frame.payload).into_owned();
                    // Whether anybody reads shows with the first part.
                    let _ = sink.begin(content_type).await;
                    stream = Some(Streaming::to(sink));
                    continue;
                }
                _ => {}
            }
            match frame.kind {
                Kind::Data => self.take_part(&mut body, id, &frame.payload).await?,
                Kind::End if frame.flags & FLAG_TOO_LARGE != 0 => return Ok(Reply::TooLarge),
                Kind::End => {
                    let answer = body.finish(frame.payload);
                    return Ok(answer.map_or(Reply::TooLarge, Reply::Answer));
                }
                Kind::Error => {
                    let last = frame.flags & FLAG_LAST != 0;
                    return Ok(Reply::Failed {
                        payload: error(body, frame.payload),
                        last,
                    });
                }
                other => return Err(Lost::OutOfTurn(other)),
            }
        }
    }

    /// The next frame that is no record and asks for nothing.
    async fn next(&mut self, listener: &impl Listener) -> Result<Frame, Lost> {
        loop {
            let reading = read(&self.socket, &mut self.received);
            let frame = match &mut self.bringing {
                None => reading.await?,
                Some(bringing) => tokio::select! {
                    heard = bringing.recv() => {
                        self.heard(heard, listener).await?;
                        continue;
                    }
                    frame = reading => frame?,
                },
            };
            match frame.kind {
                Kind::Log => listener.record(log_record(frame.payload)),
                Kind::Bring if self.bringing.is_none() => {
                    self.bringing = listener.bring(&String::from_utf8_lossy(&frame.payload));
                    if self.bringing.is_none() {
                        self.heard(None, listener).await?;
                    }
                }
                Kind::Bring => return Err(Lost::OutOfTurn(frame.kind)),
                _ => return Ok(frame),
            }
        }
    }

    /// Passes on how it stands with what was asked for.
    async fn heard(&mut self, heard: Option<Heard>, listener: &impl Listener) -> Result<(), Lost> {
        let refused = match heard {
            Some(Heard::Fetching(text)) => {
                listener.tell(text);
                self.fetching = true;
                return Ok(());
            }
            Some(Heard::Over(Ok(()))) => None,
            Some(Heard::Over(Err(why))) => Some(why),
            None => Some("nothing can be fetched now".to_owned()),
        };
        self.bringing = None;
        self.out.clear();
        let mut flags = if refused.is_some() { FLAG_REFUSED } else { 0 };
        if std::mem::take(&mut self.fetching) {
            flags |= FLAG_STOOD;
        }
        let mut why = refused.unwrap_or_default();
        why.truncate(why.floor_char_boundary(REASON_BYTES_MAX));
        frame::encode(&mut self.out, Kind::Brought, flags, NOBODY, why.as_bytes());
        self.write().await
    }

    /// Hands a part of a streamed answer to who reads it, and lets the launcher send as much more
    /// once it is taken. Where nobody reads any more the launcher learns of it.
    async fn pass_on(
        &mut self,
        stream: &mut Streaming<'_>,
        id: [u8; 16],
        part: Bytes,
    ) -> Result<Option<Unsent>, Lost> {
        stream.spent += part.len();
        let unsent = stream.sink.send(part).await.err();
        self.out.clear();
        if unsent == Some(Unsent::Gone) && !stream.cancelled {
            stream.cancelled = true;
            frame::encode(&mut self.out, Kind::Cancel, 0, id, &[]);
        }
        if stream.spent >= CREDIT_BYTES_STREAMED / 2 {
            let credit = u32::try_from(stream.spent).unwrap_or(u32::MAX);
            stream.spent = 0;
            frame::encode(&mut self.out, Kind::Credit, 0, id, &credit.to_le_bytes());
        }
        if !self.out.is_empty() {
            self.write().await?;
        }
        Ok(unsent)
    }

    /// Takes a part of a body, and lets the launcher send as much more from time to time: however
    /// large the body, it is read to its end.
    async fn take_part(&mut self, body: &mut Body, id: [u8; 16], part: &[u8]) -> Result<(), Lost> {
        body.push(part);
        if body.spent >= CREDIT_BYTES_INITIAL / 2 {
            let credit = u32::try_from(body.spent).unwrap_or(u32::MAX);
            body.spent = 0;
            self.out.clear();
            frame::encode(&mut self.out, Kind::Credit, 0, id, &credit.to_le_bytes());
            self.write().await?;
        }
        Ok(())
    }

    /// Writes head and body in one go: for a small invocation that is one system call.
    async fn write_invocation(&mut self, id: [u8; 16], call: &Call, arn: &str) -> Result<(), Lost> {
        let head = Head {
            id: call.id.as_str(),
            deadline_ms: call.deadline_ms,
            arn,
            stream: call.sink.is_some(),
            trace: call.trace.as_deref(),
            client_context: call.client_context.as_deref(),
        };
        let head = serde_json::to_vec(&head).map_err(|_| Lost::Closed)?;
        if head.len() > frame::PAYLOAD_BYTES_MAX {
            return Err(Lost::Malformed(Malformed::Length(u32::MAX)));
        }
        self.out.clear();
        frame::encode(&mut self.out, Kind::Invoke, 0, id, &head);
        frame::encode_body(&mut self.out, id, &call.payload);
        self.write().await?;
        // One large payload must not stay allocated for as long as the instance lives.
        if self.out.capacity() > 4 * READ_BYTES {
            self.out = Vec::new();
        }
        Ok(())
    }

    /// Writes what was put together. All of it fits the pipe but for large bodies.
    async fn write(&mut self) -> Result<(), Lost> {
        let sent = match rustix::io::write(&self.requests, &self.out) {
            Ok(sent) => sent,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => 0,
            Err(_) => return Err(Lost::Closed),
        };
        if let Some(rest) = self.out.get(sent..).filter(|rest| !rest.is_empty()) {
            // Fewer turns; where the user has no more of such memory, it is as it was.
            let _ = rustix::pipe::fcntl_setpipe_size(&self.requests, PIPE_BYTES);
            let mut pipe = Sender::from_owned_fd(self.requests.try_clone()?)?;
            pipe.write_all(rest).await?;
        }
        Ok(())
    }
}

/// The next frame. Nothing is lost if it is given up.
async fn read(socket: &AsyncFd<OwnedFd>, received: &mut BytesMut) -> Result<Frame, Lost> {
    loop {
        if let Some(frame) = frame::decode(received)? {
            return Ok(frame);
        }
        let mut ready = socket.readable().await?;
        match receive(ready.get_inner(), received) {
            Ok(0) => return Err(Lost::Closed),
            // Less than there was room for: there is no more for now, and no need to ask.
            Ok(count) if count < READ_BYTES => ready.clear_ready(),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
            Err(_) => return Err(Lost::Closed),
        }
    }
}

/// Reads once; how many bytes came.
fn receive(socket: &OwnedFd, received: &mut BytesMut) -> rustix::io::Result<usize> {
    // Not zeroed: that would cost more than all that is done with most answers.
    let mut buffer = [MaybeUninit::uninit(); READ_BYTES];
    let ((came, _), _) = rustix::net::recv(socket, &mut buffer, RecvFlags::empty())?;
    received.extend_from_slice(came);
    Ok(came.len())
}

/// A streamed answer on its way.
struct Streaming<'a> {
    sink: &'a Sink,
    /// Credit that has not been granted again.
    spent: usize,
    /// Whether the launcher knows that nobody reads any more.
    cancelled: bool,
}

impl<'a> Streaming<'a> {
    fn to(sink: &'a Sink) -> Self {
        Self {
            sink,
            spent: 0,
            cancelled: false,
        }
    }
}

/// A body that comes in parts; of one that is too large nothing is kept.
#[derive(Default)]
struct Body {
    kept: Vec<u8>,
    size: usize,
    /// Credit that has not been granted again.
    spent: usize,
}

impl Body {
    fn push(&mut self, part: &[u8]) {
        self.size = self.size.saturating_add(part.len());
        self.spent += part.len();
        if self.size <= RESPONSE_BYTES_MAX {
            self.kept.extend_from_slice(part);
        } else {
            self.kept = Vec::new();
        }
    }

    /// None where it is too large.
    fn finish(mut self, last: Bytes) -> Option<Bytes> {
        if self.size == 0 {
            return Some(if last.len() <= COPIED_BYTES {
                Bytes::copy_from_slice(&last)
            } else {
                last
            });
        }
        self.push(&last);
        (self.size <= RESPONSE_BYTES_MAX).then(|| self.kept.into())
    }
}

/// The error as callers see it, or that there is too much of it.
fn error(body: Body, last: Bytes) -> Bytes {
    body.finish(last)
        .unwrap_or_else(|| words::response_too_large(RESPONSE_BYTES_MAX as u64))
}

fn log_record(mut payload: Bytes) -> Record {
    if payload.len() < 9 {
        return (0, String::new());
    }
    let micros = payload.get_u64_le();
    payload.advance(1);
    (
        micros / 1000,
        String::from_utf8_lossy(&payload).into_owned(),
    )
}

/// The 16 bytes that a UUID's text stands for. Text that is none gets some bytes of its own,
/// which is enough to tell one invocation's frames from another's.
fn id_bytes(text: &str) -> [u8; 16] {
    let mut bytes = NOBODY;
    let mut digits = 0_usize;
    for character in text.chars() {
        let Some(digit) = character.to_digit(16) else {
            continue;
        };
        let digit = u8::try_from(digit).unwrap_or_default();
        if let Some(byte) = bytes.get_mut(digits / 2) {
            *byte |= if digits.is_multiple_of(2) {
                digit << 4
            } else {
                digit
            };
        }
        digits += 1;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_bytes_of_its_uuid() {
        let id = model::InvocationId::from_random([0xab; 16]);
        let mut expected = [0xab; 16];
        expected[6] = 0x4b;
        expected[8] = 0xab;
        assert_eq!(id_bytes(id.as_str()), expected);
        assert_eq!(id_bytes("----"), NOBODY);
    }
}
