//! What a person may choose: `RATE`, `SECONDS` and `KEEP` in the environment, or `--rate`, `--seconds` and `--keep`.

use anyhow::{Context, bail};

/// What was chosen.
pub(crate) struct Options {
    /// Events a second.
    pub(crate) rate: u32,
    /// How long they flow.
    pub(crate) seconds: u32,
    /// Whether the daemon runs on afterwards.
    pub(crate) keep: bool,
}

const RATE_MAX: u32 = 20_000;
/// Short of this there is no room for a swap, a kill and a recovery.
const SECONDS_MIN: u32 = 8;
const SECONDS_MAX: u32 = 3_600;

impl Options {
    pub(crate) fn read() -> anyhow::Result<Self> {
        let keep = from_environment("KEEP").is_some_and(|keep| !keep.is_empty() && keep != "0");
        let mut options = Self { rate: 500, seconds: 30, keep };
        for (name, place) in [("RATE", &mut options.rate), ("SECONDS", &mut options.seconds)] {
            // Some shells export a SECONDS of their own, which is a plain number as well; a Makefile hands over its own.
            if let Some(text) = from_environment(name).filter(|text| !text.is_empty()) {
                *place = text.parse().with_context(|| format!("read {name}: a number is wanted, not `{text}`"))?;
            }
        }
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut number = || -> anyhow::Result<u32> {
                let text = arguments.next().with_context(|| format!("{argument}: a number is wanted"))?;
                text.parse().with_context(|| format!("{argument}: a number is wanted, not `{text}`"))
            };
            match argument.as_str() {
                "--rate" => options.rate = number()?,
                "--seconds" => options.seconds = number()?,
                "--keep" => options.keep = true,
                _ => bail!("`{argument}` is unknown; there are --rate N, --seconds N and --keep"),
            }
        }
        if !(1..=RATE_MAX).contains(&options.rate) || !(SECONDS_MIN..=SECONDS_MAX).contains(&options.seconds) {
            bail!("a rate of 1 to {RATE_MAX} events/s and {SECONDS_MIN} to {SECONDS_MAX} s are possible");
        }
        Ok(options)
    }
}

#[expect(clippy::disallowed_methods, reason = "the demo is no part of the daemon, whose help lists its variables")]
fn from_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
