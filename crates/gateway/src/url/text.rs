//! Numbers and JSON strings appended to bytes: what every request writes dozens of, and what a
//! formatter that knows all forms takes several times as long for.

/// Appends decimal digits, at least `width` of them.
pub(super) fn push_number(to: &mut Vec<u8>, number: u64, width: usize) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    let mut rest = number;
    while rest > 0 || digits.len() - at < width.clamp(1, digits.len()) {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    to.extend_from_slice(&digits[at..]);
}

/// Appends a JSON string.
pub(super) fn push_json(to: &mut Vec<u8>, text: &str) {
    // Looked at to its end whatever is found, which the processor does many bytes at a time.
    let plain = text.bytes().fold(true, |plain, byte| {
        plain & (byte >= 0x20) & (byte != b'"') & (byte != b'\\')
    });
    if plain {
        to.push(b'"');
        to.extend_from_slice(text.as_bytes());
        to.push(b'"');
    } else {
        // Writing text into bytes cannot fail.
        let _ = serde_json::to_writer(to, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_number(number: u64, width: usize, expected: &str) {
        let mut bytes = b"x".to_vec();
        push_number(&mut bytes, number, width);
        assert_eq!(String::from_utf8(bytes).unwrap(), format!("x{expected}"));
    }

    #[test]
    fn numbers_have_their_digits() {
        check_number(0, 0, "0");
        check_number(0, 3, "000");
        check_number(7, 1, "7");
        check_number(42, 3, "042");
        check_number(1234, 3, "1234");
        check_number(u64::MAX, 1, "18446744073709551615");
        check_number(1, 40, &format!("{}1", "0".repeat(19)));
    }

    #[test]
    fn strings_are_as_any_writer_of_json_has_them() {
        for text in [
            "", "plain", "\u{e9}", "a \"b\"", "\\", "\n", "\u{1f}", "\u{7f}",
        ] {
            let mut bytes = Vec::new();
            push_json(&mut bytes, text);
            assert_eq!(bytes, serde_json::to_vec(text).unwrap(), "{text:?}");
        }
    }
}
