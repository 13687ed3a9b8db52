//! Time as the engine keeps it: microseconds since the Unix epoch, UTC, in an `i64`.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A moment, in microseconds since the Unix epoch, UTC.
///
/// Microseconds fit an `i64` for 292,000 years and stay exact in JavaScript's numbers until 2255.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub i64);

impl Time {
    /// The moment in whole microseconds; the engine's own times are never before 1970.
    pub fn as_micros(self) -> u64 {
        u64::try_from(self.0).unwrap_or(0)
    }

    /// How long after `earlier` this moment is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads RFC 3339, such as `2026-01-31T12:00:00.5Z`; what lies below a microsecond is cut off.
    pub fn parse(text: &str) -> Option<Self> {
        let timestamp: jiff::Timestamp = text.parse().ok()?;
        Some(Self(timestamp.as_microsecond()))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(micros))
    }
}

impl Sub<Duration> for Time {
    type Output = Self;

    fn sub(self, span: Duration) -> Self {
        let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(micros))
    }
}

/// RFC 3339 in UTC. A moment that the calendar cannot show (past the year 9999) is shown as the last one it can.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let timestamp = jiff::Timestamp::from_microsecond(self.0).unwrap_or(jiff::Timestamp::MAX);
        write!(f, "{timestamp}")
    }
}

/// Reads a duration as people write it in definitions: `500ms`, `30s`, `5m`, `6h`, `3d`, and sums such as `1h30m`.
pub fn parse_span(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let count: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit_ms: u64 = match &rest[..letters] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        rest = &rest[letters..];
        total = total.checked_add(Duration::from_millis(count.checked_mul(unit_ms)?))?;
    }
    (total <= SPAN_MAX).then_some(total)
}

/// The longest duration a definition may name: ten years. Longer ones are typing errors.
pub const SPAN_MAX: Duration = Duration::from_secs(10 * 366 * 86_400);

/// Writes a duration as [`parse_span`] reads it.
pub fn format_span(span: Duration) -> String {
    let mut rest = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".into();
    }
    let mut text = String::new();
    for (unit, unit_ms) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if rest >= unit_ms {
            text.push_str(&format!("{}{unit}", rest / unit_ms));
            rest %= unit_ms;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected_ms: Option<u64>) {
        assert_eq!(parse_span(text), expected_ms.map(Duration::from_millis), "{text}");
    }

    #[test]
    fn spans_are_read() {
        check("500ms", Some(500));
        check("1h30m", Some(5_400_000));
        check("3d", Some(259_200_000));
        check("0s", Some(0));
        check("", None);
        check("5", None);
        check("5 m", None);
        check("1y", None);
        check("99999999999999999999s", None);
        check("36600d", None);
    }

    #[test]
    fn spans_are_written_as_they_are_read() {
        for text in ["500ms", "1h30m", "3d", "0s", "1m1s"] {
            assert_eq!(format_span(parse_span(text).unwrap()), text);
        }
    }

    #[test]
    fn times_are_shown_in_rfc_3339() {
        assert_eq!(Time(1_700_000_000_500_000).to_string(), "2023-11-14T22:13:20.5Z");
        assert_eq!(Time::parse("2023-11-14T23:13:20.5+01:00"), Some(Time(1_700_000_000_500_000)));
        assert_eq!(Time::parse("yesterday"), None);
    }
}
