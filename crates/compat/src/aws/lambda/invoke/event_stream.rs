//! Messages of `application/vnd.amazon.eventstream`, byte for byte: lengths, their checksum,
//! headers whose values are strings, a payload, and the checksum of all of it.

use bytes::{BufMut as _, Bytes, BytesMut};

/// Lengths and their checksum before the headers, and the checksum of the whole, in bytes.
const FRAMING_BYTES: usize = 16;
/// The type of a header's value that is a string.
const STRING: u8 = 7;

/// One message. Names and values of headers are ours and short.
pub(super) fn message(headers: &[(&str, &str)], payload: &[u8]) -> Bytes {
    let headers_bytes: usize = headers
        .iter()
        .map(|(name, value)| 1 + name.len() + 3 + value.len())
        .sum();
    let total = FRAMING_BYTES + headers_bytes + payload.len();
    let mut out = BytesMut::with_capacity(total);
    out.put_u32(u32::try_from(total).unwrap_or(u32::MAX));
    out.put_u32(u32::try_from(headers_bytes).unwrap_or(u32::MAX));
    out.put_u32(crc32(&out));
    for (name, value) in headers {
        out.put_u8(u8::try_from(name.len()).unwrap_or(u8::MAX));
        out.put_slice(name.as_bytes());
        out.put_u8(STRING);
        out.put_u16(u16::try_from(value.len()).unwrap_or(u16::MAX));
        out.put_slice(value.as_bytes());
    }
    out.put_slice(payload);
    out.put_u32(crc32(&out));
    out.freeze()
}

/// The checksum of Ethernet, gzip and PNG (ISO 3309), reflected.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        let index = (crc ^ u32::from(*byte)) & 0xff;
        TABLE[index as usize] ^ (crc >> 8)
    })
}

/// What each value of a byte does to the checksum.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = index as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                0xedb8_8320 ^ (crc >> 1)
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_checksum_is_that_of_its_catalogue() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }

    /// Published test vectors of the format: an empty message, and one without headers.
    #[test]
    fn messages_are_those_of_the_published_vectors() {
        assert_eq!(hex(&message(&[], b"")), "000000100000000005c248eb7d98c8ff");
        assert_eq!(
            hex(&message(&[], b"{'foo':'bar'}")),
            "0000001d00000000fd528c5a7b27666f6f273a27626172277dc3653936"
        );
    }

    #[test]
    fn headers_are_strings_with_their_lengths() {
        let seen = message(&[("content-type", "application/json")], b"{'foo':'bar'}");
        assert_eq!(
            hex(&seen),
            "0000003d0000002007fd83960c636f6e74656e742d747970650700106170706c69636174696f6e2f6a736f\
             6e7b27666f6f273a27626172277d8d9c08b1"
        );
    }
}
