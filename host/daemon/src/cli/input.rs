//! What a command is given: files, standard input, moments as people write them.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use jiff::Timestamp;
use serde_json::Value;
use trapjaw_engine::time::{Time, parse_span};

use super::Usage;

/// The largest document, event or batch that is read; the daemon takes less.
pub(super) const TEXT_BYTES_MAX: u64 = 16 << 20;
/// The largest component that is read; the daemon takes less.
pub(super) const COMPONENT_BYTES_MAX: u64 = 256 << 20;

/// Reads a file, or standard input for `-`.
pub(super) fn read(path: &Path, bytes_max: u64) -> anyhow::Result<Vec<u8>> {
    if path == Path::new("-") {
        return read_bounded(io::stdin().lock(), bytes_max).context("read standard input");
    }
    let open = || read_bounded(File::open(path)?, bytes_max);
    open().with_context(|| format!("read {}", path.display()))
}

fn read_bounded(from: impl Read, bytes_max: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        bail!("it has more than {bytes_max} bytes");
    }
    Ok(bytes)
}

/// Reads YAML, and so JSON too. A name that stands twice is an error: one of the two would be lost.
pub(super) fn yaml(text: &[u8]) -> anyhow::Result<Value> {
    let value: yaml_serde::Value = yaml_serde::from_slice(text).context("read YAML")?;
    serde_json::to_value(value).context("read YAML")
}

/// Reads a JSON argument.
pub(super) fn json(name: &str, text: &str) -> anyhow::Result<Value> {
    serde_json::from_str(text).map_err(|err| Usage(format!("{name}: it is not JSON: {err}")).into())
}

/// A directory that names in a document are relative to.
pub(super) fn directory_of(path: &Path) -> PathBuf {
    path.parent().map(Path::to_path_buf).unwrap_or_default()
}

/// A moment as people write it: RFC 3339, or a span such as `1h30m`, which is that long ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// At this time.
    At(Time),
    /// This many microseconds from the moment of the call.
    Span(i64),
}

impl std::str::FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let at = Time::parse(text).map(Self::At);
        let span = || parse_span(text).and_then(|span| i64::try_from(span.as_micros()).ok()).map(Self::Span);
        at.or_else(span).ok_or_else(|| "a time such as 2026-01-31T12:00:00Z or a span such as 1h30m is expected".into())
    }
}

impl Moment {
    /// The time that it means when a span reaches into the past.
    pub(super) fn before(self, now: Timestamp) -> Time {
        match self {
            Self::At(time) => time,
            Self::Span(micros) => Time(now.as_microsecond() - micros),
        }
    }

    /// The time that it means when a span reaches into the future.
    pub(super) fn after(self, now: Timestamp) -> Time {
        match self {
            Self::At(time) => time,
            Self::Span(micros) => Time(now.as_microsecond() + micros),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn moments_are_read() {
        let now = Timestamp::from_microsecond(10_000_000).unwrap();
        assert_eq!("3s".parse::<Moment>().unwrap().before(now), Time(7_000_000));
        assert_eq!("3s".parse::<Moment>().unwrap().after(now), Time(13_000_000));
        assert_eq!("1970-01-01T00:00:01Z".parse::<Moment>().unwrap().before(now), Time(1_000_000));
        assert!("yesterday".parse::<Moment>().is_err());
    }

    #[test]
    fn yaml_becomes_json() {
        let check = |text: &str, expected: Value| assert_eq!(yaml(text.as_bytes()).unwrap(), expected);
        check("on: yes\n\"n\": 9007199254740993", json!({"on": "yes", "n": 9_007_199_254_740_993_i64}));
        check("{\"a\": [1, null, 0.5]}", json!({"a": [1, null, 0.5]}));
        assert!(yaml(b"a: 1\na: 2").is_err());
        assert!(yaml(b"a: [").is_err());
    }

    #[test]
    fn what_is_read_is_bounded() {
        assert_eq!(read_bounded(&b"abc"[..], 3).unwrap(), b"abc");
        assert!(read_bounded(&b"abcd"[..], 3).is_err());
    }
}
