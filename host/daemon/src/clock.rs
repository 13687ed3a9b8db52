//! The system's clock and randomness, as the engine's ports want them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use trapjaw_engine::ports::{Clock, Dice};
use trapjaw_engine::time::Time;

/// The system's clock.
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one clock that the ports stand for")]
    fn now(&self) -> Time {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Time(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }
}

/// Jitter: a Weyl sequence through a mixer, seeded by the system. Nothing secret hangs on it.
pub(crate) struct SystemDice(AtomicU64);

impl SystemDice {
    /// Dice with a seed of the system's.
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(u64::from_le_bytes(random())))
    }
}

impl Dice for SystemDice {
    fn roll(&self) -> f64 {
        let mut bits = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        // 53 bits fill the mantissa, so that the result is below 1.
        (bits >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Random bytes from the system, fit for keys and tokens.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has randomness; without it nothing here is safe to do");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dice_fall_within_bounds_and_differ() {
        let dice = SystemDice::new();
        let rolls: Vec<f64> = (0..1_000).map(|_| dice.roll()).collect();
        assert!(rolls.iter().all(|roll| (0.0..1.0).contains(roll)));
        assert!(rolls.windows(2).all(|pair| pair[0] != pair[1]));
        assert!((0.4..0.6).contains(&(rolls.iter().sum::<f64>() / 1_000.0)));
    }
}
