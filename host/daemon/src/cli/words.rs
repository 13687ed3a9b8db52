//! How values read to people: ages, moments, sizes, and text that cannot drive the terminal.

use jiff::Timestamp;
use serde_json::Value;

/// What stands where a value is absent.
pub(super) const ABSENT: &str = "-";

/// The text on one line, with whatever could drive the terminal escaped: what we show was written by others.
pub(super) fn one_line(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// The text with its lines kept, and other control characters escaped.
pub(super) fn lines(text: &str) -> impl Iterator<Item = String> + '_ {
    text.lines().map(|line| one_line(&line.replace('\t', "    ")))
}

/// How long ago a moment in RFC 3339 was, or how soon it will be: one number and unit.
pub(super) fn age(now: Timestamp, text: &str) -> String {
    let Ok(moment) = text.parse::<Timestamp>() else { return one_line(text) };
    let seconds = now.as_second() - moment.as_second();
    let span = short_span(seconds.unsigned_abs());
    match seconds {
        0 => "now".into(),
        1.. => span,
        ..0 => format!("in {span}"),
    }
}

/// Seconds in the largest unit that leaves a number.
pub(super) fn short_span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        172_800.. => format!("{}d", seconds / 86_400),
    }
}

/// A moment in RFC 3339, cut at milliseconds, with a space where people look for one.
pub(super) fn moment(text: &str) -> String {
    text.parse::<Timestamp>().map_or_else(|_| one_line(text), |moment| moment.strftime("%F %T%.3fZ").to_string())
}

/// The milliseconds from one moment to another; none when one of them cannot be read.
pub(super) fn millis_between(from: &str, to: &str) -> Option<i64> {
    let (from, to) = (from.parse::<Timestamp>().ok()?, to.parse::<Timestamp>().ok()?);
    Some(to.as_millisecond() - from.as_millisecond())
}

/// A number of bytes.
pub(super) fn size(bytes: u64) -> String {
    let mut amount = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if amount < 1_024.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{amount:.1} {unit}") };
        }
        amount /= 1_024.0;
    }
    format!("{amount:.1} TiB")
}

/// A JSON value in a few words: strings without quotes, lists with commas, objects as JSON.
pub(super) fn brief(value: &Value) -> String {
    match value {
        Value::Null => ABSENT.into(),
        Value::String(text) if text.is_empty() => ABSENT.into(),
        Value::String(text) => one_line(text),
        Value::Array(items) if items.is_empty() => ABSENT.into(),
        Value::Array(items) => items.iter().map(brief).collect::<Vec<_>>().join(", "),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => one_line(&value.to_string()),
    }
}

/// The text, cut at this many characters with an ellipsis.
pub(super) fn cut(text: String, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        None => text,
        Some(_) => text.chars().take(chars_max.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// The count and its noun: `1 event`, `2 events`.
pub(super) fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ages_read_well() {
        let now: Timestamp = "2026-01-02T12:00:00Z".parse().unwrap();
        let check = |text, expected: &str| assert_eq!(age(now, text), expected, "{text}");
        check("2026-01-02T12:00:00.2Z", "now");
        check("2026-01-02T11:59:01Z", "59s");
        check("2026-01-02T11:00:00Z", "60m");
        check("2026-01-01T11:00:00Z", "25h");
        check("2025-12-01T00:00:00Z", "32d");
        check("2026-01-02T14:00:00Z", "in 2h");
        check("soon", "soon");
    }

    #[test]
    fn moments_and_sizes_read_well() {
        assert_eq!(moment("2026-01-02T12:00:00.123456Z"), "2026-01-02 12:00:00.123Z");
        assert_eq!(moment("2026-01-02T13:00:00+01:00"), "2026-01-02 12:00:00.000Z");
        assert_eq!(millis_between("2026-01-02T12:00:00Z", "2026-01-02T12:00:01.5Z"), Some(1_500));
        for (bytes, expected) in
            [(0, "0 B"), (1_023, "1023 B"), (1_536, "1.5 KiB"), (5 << 30, "5.0 GiB"), (3 << 40, "3.0 TiB")]
        {
            assert_eq!(size(bytes), expected);
        }
    }

    #[test]
    fn text_of_others_cannot_drive_the_terminal() {
        assert_eq!(one_line("a\u{1b}[2Jb\nc\u{9b}ü"), "a\\u{1b}[2Jb\\nc\\u{9b}ü");
        assert_eq!(lines("a\n\tb\u{7}").collect::<Vec<_>>(), ["a", "    b\\u{7}"]);
    }

    #[test]
    fn values_are_brief() {
        for (value, expected) in [
            (json!(null), "-"),
            (json!(""), "-"),
            (json!([]), "-"),
            (json!(["a", "b"]), "a, b"),
            (json!({"a": 1}), r#"{"a":1}"#),
            (json!(9_007_199_254_740_993_i64), "9007199254740993"),
        ] {
            assert_eq!(brief(&value), expected);
        }
        assert_eq!(cut("äöüß".into(), 4), "äöüß");
        assert_eq!(cut("äöüßa".into(), 4), "äöü…");
        assert_eq!((count(1, "event"), count(0, "event")), ("1 event".into(), "0 events".into()));
    }
}
