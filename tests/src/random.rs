//! Randomness from a seed that is printed, so that a run can be repeated.

use std::hash::{BuildHasher, RandomState};

/// A small generator (SplitMix64): good enough for moments and choices.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    pub const fn of(seed: u64) -> Self {
        Self(seed)
    }

    /// A seed of the system's, different at each run.
    pub fn seed() -> u64 {
        RandomState::new().hash_one(std::process::id())
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is at least 1.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats() {
        let numbers = |seed| -> Vec<u64> {
            let mut random = Random::of(seed);
            (0..5).map(|_| random.below(1_000)).collect()
        };
        assert_eq!(numbers(1), numbers(1));
        assert_ne!(numbers(1), numbers(2));
    }
}
