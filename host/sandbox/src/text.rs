//! Text of strangers, made harmless for terminals and logs.

use std::fmt::Write;

/// Appends the text with its control characters escaped, but for those in `kept`, up to so many bytes in all.
///
/// Says whether all of it found room.
pub(crate) fn escape_into(out: &mut String, text: &str, kept: &[char], bytes_max: usize) -> bool {
    for c in text.chars() {
        let before = out.len();
        if c.is_control() && !kept.contains(&c) {
            write!(out, "{}", c.escape_default()).expect("writing to a string never fails");
        } else {
            out.push(c);
        }
        if out.len() > bytes_max {
            out.truncate(before);
            return false;
        }
    }
    true
}

/// The text, cut to so many bytes at a character's border, with a sign where it was cut.
pub(crate) fn cut(mut text: String, bytes_max: usize) -> String {
    const SIGN: &str = "…";
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max - SIGN.len()));
        text.push_str(SIGN);
    }
    text
}

/// A number of bytes as people write it.
pub(crate) fn bytes(n: usize) -> String {
    match n {
        n if n >= 1 << 20 && n.is_multiple_of(1 << 20) => format!("{} MiB", n >> 20),
        n if n >= 1 << 10 && n.is_multiple_of(1 << 10) => format!("{} KiB", n >> 10),
        n => format!("{n} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        let check = |text: &str, kept: &[char], expected: &str| {
            let mut out = String::new();
            assert!(escape_into(&mut out, text, kept, 1_000));
            assert_eq!(out, expected);
        };
        check("a\nb\u{1b}[31m\u{7}\u{9b}", &[], r"a\nb\u{1b}[31m\u{7}\u{9b}");
        check("a\nb\r", &['\n'], "a\nb\\r");
        check("ümläut \"quoted\" \\", &[], "ümläut \"quoted\" \\");
    }

    #[test]
    fn escaping_stops_before_the_limit() {
        let mut out = String::from("12");
        assert!(!escape_into(&mut out, "34ä", &[], 5));
        assert_eq!(out, "1234");
        assert!(!escape_into(&mut out, "\n", &[], 5));
        assert_eq!(out, "1234");
    }

    #[test]
    fn cutting_respects_characters() {
        assert_eq!(cut("abc".into(), 3), "abc");
        assert_eq!(cut("ääää".into(), 6), "ä…");
    }

    #[test]
    fn bytes_are_rounded_only_where_exact() {
        for (n, expected) in [(64 << 20, "64 MiB"), (8 << 10, "8 KiB"), (1_500, "1500 bytes")] {
            assert_eq!(bytes(n), expected);
        }
    }
}
