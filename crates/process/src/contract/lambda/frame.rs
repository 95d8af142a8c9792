//! The frames between the platform and a launcher: what is on the wire, byte for byte.
//!
//! A frame is a header of 24 bytes and a payload. The header, little-endian: payload length
//! (u32), protocol version (u8), kind (u8), flags (u16), invocation id (16 bytes, zero where no
//! invocation is meant). A body that does not fit one frame travels as `Data` frames before the
//! frame that ends it. Who sends a body spends credit: 8 MiB for each body to begin with, then
//! what the receiver grants by `Credit`; a streamed answer has 1 MiB to begin with, and more only
//! as somebody takes it. Frames of different invocations may alternate, though
//! today's launchers hold one at a time.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Version of the protocol, in every header.
pub(crate) const VERSION: u8 = 1;
/// Size of the header, in bytes.
pub(crate) const HEADER_BYTES: usize = 24;
/// Largest payload of one frame, in bytes: large enough that a body of megabytes takes few
/// system calls, small enough that a receiver needs little memory for what it has not read yet.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 256 * 1024;
/// Credit for each body before any is granted, in bytes: more than any buffered body needs.
pub(crate) const CREDIT_BYTES_INITIAL: usize = 8 * 1024 * 1024;
/// Credit for a streamed answer before any is granted, in bytes: all that a function may write
/// ahead of who reads, and enough to keep a fast one busy.
pub(crate) const CREDIT_BYTES_STREAMED: usize = 1024 * 1024;

/// On `End`: the answer is larger than answers may be; its payload is the size in decimal digits.
pub(crate) const FLAG_TOO_LARGE: u16 = 1;
/// On `Error`: the process ends after this. On `Data`: the streamed answer is whole, though the
/// invocation goes on.
pub(crate) const FLAG_LAST: u16 = 2;
/// On `Data`: part of an error, where the answer itself is streamed.
pub(crate) const FLAG_ERROR: u16 = 4;
/// On `InitError`: what it lacked has been fetched meanwhile, so that a new process would load.
pub(crate) const FLAG_AGAIN: u16 = 8;
/// On `Brought`: it could not be done.
pub(crate) const FLAG_REFUSED: u16 = 16;
/// On `Brought`: the function's time stood still while it waited.
pub(crate) const FLAG_STOOD: u16 = 32;

/// The id in frames that belong to no invocation.
pub(crate) const NOBODY: [u8; 16] = [0; 16];

/// What a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Launcher to host, first: the interpreter is up; payload: its name and version.
    Hello,
    /// Host to launcher: environment variables known only now, `NAME=value` each ended by NUL;
    /// then the function is loaded.
    Init,
    /// Launcher to host: the function is loaded.
    Ready,
    /// Launcher to host: loading failed; payload: the error as callers see it.
    InitError,
    /// Host to launcher: an invocation; payload: its head as JSON. Its body follows.
    Invoke,
    /// Either way: part of a body that is not its last.
    Data,
    /// Either way: the last part of a body. From a launcher it ends the invocation.
    End,
    /// Launcher to host: the invocation failed; payload: the error as callers see it.
    Error,
    /// Either way: the payload, a u32, is how many bytes more the receiver may send of the body.
    Credit,
    /// Host to launcher: nobody reads this invocation's streamed answer any more, so that what is
    /// left of it need not be sent.
    Cancel,
    /// Launcher to host: one record of the log; payload: microseconds since the Unix epoch
    /// (u64), level (u8), text.
    Log,
    /// Launcher to host: the answer is streamed; payload: its content type. Each `Data` that
    /// follows is passed on as it comes.
    Begin,
    /// Launcher to host: the function needs something that Lambda's runtime brings; payload: the
    /// name of a module or package. Until it is answered nothing else can be asked for.
    Bring,
    /// Host to launcher: the answer; payload: why it could not be fetched, if it could not.
    Brought,
}

impl Kind {
    /// The kind that a header's byte stands for.
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Hello,
            2 => Self::Init,
            3 => Self::Ready,
            4 => Self::InitError,
            5 => Self::Invoke,
            6 => Self::Data,
            7 => Self::End,
            8 => Self::Error,
            9 => Self::Credit,
            10 => Self::Cancel,
            11 => Self::Log,
            12 => Self::Begin,
            13 => Self::Bring,
            14 => Self::Brought,
            _ => return None,
        })
    }

    /// The byte that stands for it.
    fn byte(self) -> u8 {
        match self {
            Self::Hello => 1,
            Self::Init => 2,
            Self::Ready => 3,
            Self::InitError => 4,
            Self::Invoke => 5,
            Self::Data => 6,
            Self::End => 7,
            Self::Error => 8,
            Self::Credit => 9,
            Self::Cancel => 10,
            Self::Log => 11,
            Self::Begin => 12,
            Self::Bring => 13,
            Self::Brought => 14,
        }
    }
}

/// One frame as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    /// What it is for.
    pub(crate) kind: Kind,
    /// Meaning depends on the kind; unknown ones are ignored.
    pub(crate) flags: u16,
    /// The invocation it belongs to.
    pub(crate) id: [u8; 16],
    /// What it carries.
    pub(crate) payload: Bytes,
}

/// Bytes that are no frame. The peer is not a launcher of ours, or no longer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// Another version of the protocol.
    #[error("protocol version {0}, not {VERSION}")]
    Version(u8),
    /// A kind that this version does not have.
    #[error("unknown kind of frame {0}")]
    Kind(u8),
    /// A payload beyond what a frame may carry.
    #[error("frame of {0} bytes; at most {PAYLOAD_BYTES_MAX} are allowed")]
    Length(u32),
}

/// Appends a frame.
pub(crate) fn encode(out: &mut Vec<u8>, kind: Kind, flags: u16, id: [u8; 16], payload: &[u8]) {
    debug_assert!(payload.len() <= PAYLOAD_BYTES_MAX);
    out.put_u32_le(u32::try_from(payload.len()).unwrap_or(u32::MAX));
    out.put_u8(VERSION);
    out.put_u8(kind.byte());
    out.put_u16_le(flags);
    out.put_slice(&id);
    out.put_slice(payload);
}

/// Appends a body: as many `Data` frames as it needs and the frame that ends it.
pub(crate) fn encode_body(out: &mut Vec<u8>, id: [u8; 16], body: &[u8]) {
    let mut rest = body;
    while rest.len() > PAYLOAD_BYTES_MAX {
        let (part, after) = rest.split_at(PAYLOAD_BYTES_MAX);
        encode(out, Kind::Data, 0, id, part);
        rest = after;
    }
    encode(out, Kind::End, 0, id, rest);
}

/// Takes the next whole frame off the front of what was received, if one is there.
pub(crate) fn decode(received: &mut BytesMut) -> Result<Option<Frame>, Malformed> {
    let Some(mut header) = received.get(..HEADER_BYTES) else {
        return Ok(None);
    };
    let length = header.get_u32_le();
    let version = header.get_u8();
    let kind = header.get_u8();
    let flags = header.get_u16_le();
    let mut id = NOBODY;
    header.copy_to_slice(&mut id);
    // Refused by the header alone: nothing is kept of what is not going to be taken.
    if version != VERSION {
        return Err(Malformed::Version(version));
    }
    let kind = Kind::from_byte(kind).ok_or(Malformed::Kind(kind))?;
    let payload_bytes = usize::try_from(length).unwrap_or(usize::MAX);
    if payload_bytes > PAYLOAD_BYTES_MAX {
        return Err(Malformed::Length(length));
    }
    if received.len() < HEADER_BYTES + payload_bytes {
        return Ok(None);
    }
    received.advance(HEADER_BYTES);
    let payload = received.split_to(payload_bytes).freeze();
    Ok(Some(Frame {
        kind,
        flags,
        id,
        payload,
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode_all(bytes: &[u8]) -> Result<Vec<Frame>, Malformed> {
        let mut received = BytesMut::from(bytes);
        let mut frames = Vec::new();
        while let Some(frame) = decode(&mut received)? {
            frames.push(frame);
        }
        Ok(frames)
    }

    #[test]
    fn a_large_body_is_cut_into_frames() {
        let body = vec![7; PAYLOAD_BYTES_MAX * 2 + 1];
        let mut wire = Vec::new();
        encode_body(&mut wire, [9; 16], &body);
        let frames = decode_all(&wire).unwrap();
        let kinds: Vec<_> = frames.iter().map(|frame| frame.kind).collect();
        assert_eq!(kinds, [Kind::Data, Kind::Data, Kind::End]);
        let joined: Vec<u8> = frames
            .iter()
            .flat_map(|frame| frame.payload.to_vec())
            .collect();
        assert_eq!(joined, body);
    }

    #[test]
    fn what_is_no_frame_is_refused_by_its_header() {
        let mut header = [0_u8; HEADER_BYTES];
        header[4] = VERSION;
        header[5] = Kind::Data.byte();
        assert!(decode_all(&header).is_ok());
        let with = |at: usize, byte| {
            let mut changed = header;
            changed[at] = byte;
            decode_all(&changed)
        };
        assert_eq!(with(3, 0x7f), Err(Malformed::Length(0x7f00_0000)));
        assert_eq!(with(4, 9), Err(Malformed::Version(9)));
        assert_eq!(with(5, 99), Err(Malformed::Kind(99)));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_all(&bytes);
        }

        #[test]
        fn frames_survive_any_cut(
            payload in proptest::collection::vec(any::<u8>(), 0..600),
            kind in 1_u8..=14,
            flags: u16,
            id: [u8; 16],
            cut in 0_usize..700,
        ) {
            let kind = Kind::from_byte(kind).unwrap();
            let mut wire = Vec::new();
            encode(&mut wire, kind, flags, id, &payload);
            let cut = cut.min(wire.len());
            let mut received = BytesMut::from(&wire[..cut]);
            let early = decode(&mut received).unwrap();
            let frame = match early {
                Some(frame) => frame,
                None => {
                    received.extend_from_slice(&wire[cut..]);
                    decode(&mut received).unwrap().unwrap()
                }
            };
            prop_assert_eq!(frame, Frame { kind, flags, id, payload: Bytes::from(payload) });
            prop_assert!(received.is_empty());
        }
    }
}
