//! Text forms of bytes, and the escaping of what others wrote.

/// The bytes in hexadecimal, lower case.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)] as char, DIGITS[usize::from(byte & 15)] as char])
        .collect()
}

/// The bytes that a hexadecimal text stands for.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |c: &u8| char::from(*c).to_digit(16);
    let pair = |pair: &[u8]| Some((digit(&pair[0])? << 4 | digit(&pair[1])?) as u8);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if rest.is_empty() { pairs.iter().map(|chars| pair(chars)).collect() } else { None }
}

/// The text with its control characters made visible, so that it cannot forge log lines or move a terminal's cursor.
pub(crate) fn escape_controls(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut escaped, c| {
        if c.is_control() {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
        escaped
    })
}

/// A random id in the form of a version 4 UUID.
pub(crate) fn random_id() -> String {
    let mut bytes: [u8; 16] = crate::clock::random();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let text = hex(&bytes);
    [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]].join("-")
}

/// Percent-decodes a header's value; none when it is not UTF-8 or an escape is broken.
pub(crate) fn percent_decode(text: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'%' {
            let (code, tail) = rest.split_at_checked(2)?;
            bytes.push(*unhex(std::str::from_utf8(code).ok()?)?.first()?);
            rest = tail;
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_reads_back() {
        assert_eq!(hex(&[0, 171, 255]), "00abff");
        assert_eq!(unhex("00ABff"), Some(vec![0, 171, 255]));
        assert_eq!(unhex("0"), None);
        assert_eq!(unhex("0g"), None);
    }

    #[test]
    fn controls_are_shown() {
        assert_eq!(escape_controls("a\nb\u{1b}[2Jü"), "a\\nb\\u{1b}[2Jü");
    }

    #[test]
    fn random_ids_look_like_uuids() {
        let id = random_id();
        assert_eq!((id.len(), id.as_bytes()[14]), (36, b'4'));
        assert_ne!(id, random_id());
    }

    #[test]
    fn percent_escapes_are_decoded() {
        assert_eq!(percent_decode(b"a%20b%C3%BC").as_deref(), Some("a bü"));
        for broken in [&b"%"[..], b"%2", b"%zz", b"%ff", b"\xff"] {
            assert_eq!(percent_decode(broken), None, "{broken:?}");
        }
    }
}
