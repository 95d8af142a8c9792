//! CRC-32C, which tells damaged bytes from whole ones. Not a defence against intent.

/// The Castagnoli polynomial, bits reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// `TABLES[n][b]`: what a byte `b` contributes when `n` more bytes follow in its group of eight.
static TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut value = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 {
                value >> 1 ^ POLYNOMIAL
            } else {
                value >> 1
            };
            bit += 1;
        }
        tables[0][byte] = value;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[table - 1][byte];
            tables[table][byte] = before >> 8 ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
}

/// The checksum of bytes given piece by piece.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crc(u32);

impl Crc {
    /// The checksum of nothing.
    pub(crate) fn new() -> Self {
        Self(!0)
    }

    /// With these bytes added, eight at a time.
    #[must_use]
    pub(crate) fn bytes(self, bytes: &[u8]) -> Self {
        let mut crc = self.0;
        let (groups, rest) = bytes.as_chunks::<8>();
        for [a, b, c, d, e, f, g, h] in groups {
            let [i, j, k, l] = (u32::from_le_bytes([*a, *b, *c, *d]) ^ crc).to_le_bytes();
            let bytes = [i, j, k, l, *e, *f, *g, *h];
            crc = bytes
                .iter()
                .zip(TABLES.iter().rev())
                .fold(0, |crc, (byte, table)| crc ^ table[usize::from(*byte)]);
        }
        for byte in rest {
            crc = crc >> 8 ^ TABLES[0][usize::from(crc as u8 ^ byte)];
        }
        Self(crc)
    }

    /// With a text and its length added, so that two texts in a row cannot be cut otherwise.
    #[must_use]
    pub(crate) fn text(self, text: &str) -> Self {
        self.number(text.len() as u64).bytes(text.as_bytes())
    }

    /// With a number added.
    #[must_use]
    pub(crate) fn number(self, number: u64) -> Self {
        self.bytes(&number.to_le_bytes())
    }

    /// The checksum.
    pub(crate) fn finish(self) -> u32 {
        !self.0
    }
}

/// The checksum of these bytes.
pub(crate) fn crc(bytes: &[u8]) -> u32 {
    Crc::new().bytes(bytes).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_published_values() {
        // RFC 3720, appendix B.4.
        assert_eq!(crc(b"123456789"), 0xe306_9283);
        assert_eq!(crc(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc(&[0xff; 32]), 0x62a8_ab43);
    }

    #[test]
    fn pieces_make_the_same_sum() {
        let bytes: Vec<u8> = (0..100).collect();
        for cut in 0..bytes.len() {
            let (head, tail) = bytes.split_at(cut);
            assert_eq!(Crc::new().bytes(head).bytes(tail).finish(), crc(&bytes));
        }
    }
}
