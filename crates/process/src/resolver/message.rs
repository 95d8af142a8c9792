//! As much of the form of DNS messages (RFC 1035, section 4) as it takes to read one question
//! and to answer it with addresses.

use std::net::Ipv4Addr;

/// The type of IPv4 addresses.
pub(super) const ADDRESS: u16 = 1;
/// The type of IPv6 addresses.
pub(super) const ADDRESS_V6: u16 = 28;
/// The class of the internet.
const INTERNET: u16 = 1;

const HEADER_BYTES: usize = 12;
const NAME_BYTES_MAX: usize = 255;
const LABEL_BYTES_MAX: u8 = 63;

/// Addresses in one answer: with the longest name, what fits the 512 bytes of plain UDP.
const ADDRESSES_MAX: usize = 15;
const NAME_AND_FIXED_BYTES: usize = HEADER_BYTES + NAME_BYTES_MAX + 4;
const ADDRESS_RECORD_BYTES: usize = 16;
const _: () = assert!(NAME_AND_FIXED_BYTES + ADDRESSES_MAX * ADDRESS_RECORD_BYTES <= 512);

/// How long an answer may be kept, in seconds: this host keeps them itself.
const KEEP_SECONDS: u32 = 5;

/// Bits of the header's second word.
const IS_ANSWER: u16 = 1 << 15;
const OPERATION: u16 = 0b1111 << 11;
const RECURSION_DESIRED: u16 = 1 << 8;
const RECURSION_AVAILABLE: u16 = 1 << 7;

/// What an answer says of the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Code {
    Good = 0,
    Failed = 2,
    NoSuchName = 3,
    Refused = 5,
}

/// The one question of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question<'a> {
    /// In lower case and without the dot at its end.
    pub(super) name: String,
    pub(super) kind: u16,
    class: u16,
    header: &'a [u8],
    /// As it stands in the message.
    bytes: &'a [u8],
}

impl<'a> Question<'a> {
    /// Reads a message that asks one question; nothing else is for us.
    pub(super) fn read(message: &'a [u8]) -> Option<Self> {
        let (header, rest) = message.split_at_checked(HEADER_BYTES)?;
        let flags = word(header, 2)?;
        if flags & (IS_ANSWER | OPERATION) != 0 || word(header, 4)? != 1 {
            return None;
        }
        let (name, name_bytes) = read_name(rest)?;
        Some(Self {
            name,
            kind: word(rest, name_bytes)?,
            class: word(rest, name_bytes + 2)?,
            header,
            bytes: rest.get(..name_bytes + 4)?,
        })
    }

    pub(super) fn is_of_internet(&self) -> bool {
        self.class == INTERNET
    }

    /// A whole message that answers with these addresses.
    pub(super) fn answer(&self, code: Code, addresses: &[Ipv4Addr]) -> Vec<u8> {
        let addresses = addresses.get(..ADDRESSES_MAX).unwrap_or(addresses);
        let asked = word(self.header, 2).unwrap_or_default();
        let flags = IS_ANSWER | asked & RECURSION_DESIRED | RECURSION_AVAILABLE | code as u16;
        let mut message = Vec::with_capacity(512);
        message.extend(self.header.get(..2).unwrap_or_default());
        message.extend(flags.to_be_bytes());
        for count in [1, addresses.len() as u16, 0, 0] {
            message.extend(count.to_be_bytes());
        }
        message.extend(self.bytes);
        for address in addresses {
            // The name: where the question has it.
            message.extend((0xc000 | HEADER_BYTES as u16).to_be_bytes());
            message.extend(ADDRESS.to_be_bytes());
            message.extend(INTERNET.to_be_bytes());
            message.extend(KEEP_SECONDS.to_be_bytes());
            message.extend(4_u16.to_be_bytes());
            message.extend(address.octets());
        }
        message
    }
}

/// Whether a message is an answer, and to this question by its number.
pub(super) fn is_answer_to(message: &[u8], asked: &[u8]) -> bool {
    word(message, 2).is_some_and(|flags| flags & IS_ANSWER != 0)
        && word(message, 0).is_some()
        && word(message, 0) == word(asked, 0)
}

/// The name at the start, and how many bytes it takes. A question needs no pointers, and what is
/// no text, or has dots in a label, is no name that anybody has.
fn read_name(bytes: &[u8]) -> Option<(String, usize)> {
    let mut name = String::new();
    let mut at = 0;
    loop {
        let length = *bytes.get(at)?;
        at += 1;
        if length > LABEL_BYTES_MAX || at > NAME_BYTES_MAX {
            return None;
        }
        if length == 0 {
            return Some((name, at));
        }
        let label = bytes.get(at..at + usize::from(length))?;
        at += usize::from(length);
        if !name.is_empty() {
            name.push('.');
        }
        let text = std::str::from_utf8(label).ok()?;
        if text.contains('.') {
            return None;
        }
        name.push_str(&text.to_ascii_lowercase());
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes
        .get(at..)?
        .first_chunk()
        .copied()
        .map(u16::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(labels: &[&str], kind: u16) -> Vec<u8> {
        let mut message = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in labels {
            message.push(label.len() as u8);
            message.extend(label.as_bytes());
        }
        message.push(0);
        message.extend(kind.to_be_bytes());
        message.extend(INTERNET.to_be_bytes());
        message
    }

    #[test]
    fn a_question_is_read() {
        let message = asked(&["WWW", "example", "org"], ADDRESS);
        let question = Question::read(&message).unwrap();
        assert_eq!(question.name, "www.example.org");
        assert_eq!(question.kind, ADDRESS);
        assert!(question.is_of_internet());
    }

    #[test]
    fn an_answer_repeats_the_question_and_holds_the_addresses() {
        let message = asked(&["a"], ADDRESS);
        let question = Question::read(&message).unwrap();
        let answer = question.answer(Code::Good, &[Ipv4Addr::new(10, 0, 0, 7)]);
        let expected = [
            &[0xab, 0xcd, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0][..],
            &message[HEADER_BYTES..],
            &[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 10, 0, 0, 7],
        ];
        assert_eq!(answer, expected.concat());
        assert!(is_answer_to(&answer, &message));
        assert!(!is_answer_to(&message, &message));
        assert!(Question::read(&answer).is_none());
    }

    #[test]
    fn the_largest_answer_fits_a_datagram() {
        let label = "x".repeat(63);
        let longest = asked(&[&label, &label, &label, &"y".repeat(61)], ADDRESS);
        let question = Question::read(&longest).unwrap();
        let answer = question.answer(Code::Good, &[Ipv4Addr::LOCALHOST; 99]);
        assert!(answer.len() <= 512, "{}", answer.len());
        let longer = asked(&[&label, &label, &label, &"y".repeat(62)], ADDRESS);
        assert!(Question::read(&longer).is_none());
    }

    proptest::proptest! {
        #[test]
        fn noise_never_breaks_the_reader(bytes: Vec<u8>) {
            if let Some(question) = Question::read(&bytes) {
                question.answer(Code::NoSuchName, &[]);
            }
            is_answer_to(&bytes, &bytes);
        }
    }
}
