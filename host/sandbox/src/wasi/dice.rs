//! The randomness of a condition: the same for the same call.

use std::convert::Infallible;

use rand_core::TryRng;
use sha2::{Digest, Sha256};
use trapjaw_engine::ports::JudgeCall;

/// Numbers from a seed: SHA-256 of the seed and a counter. Slow, and the same on every machine and in every version.
#[derive(Clone)]
pub(crate) struct Dice {
    seed: [u8; 32],
    n_blocks: u64,
    block: [u8; 32],
    used: usize,
}

impl Dice {
    /// Seeded by the names of what is asked. The event's data need not be read: its source and id name it.
    pub(crate) fn of(call: &JudgeCall) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"trapjaw condition 1");
        let event = &call.event;
        for part in [&*event.source, &*event.id, &*event.kind, &*call.trigger, &*call.subject, &*call.config] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        hash.update(call.now.0.to_le_bytes());
        Self::from_seed(hash.finalize().into())
    }

    /// Another sequence that follows from the same seed.
    pub(crate) fn other(&self) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"other");
        hash.update(self.seed);
        Self::from_seed(hash.finalize().into())
    }

    pub(crate) fn roll_u128(&mut self) -> u128 {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        u128::from_le_bytes(bytes)
    }

    fn from_seed(seed: [u8; 32]) -> Self {
        Self { seed, n_blocks: 0, block: [0; 32], used: 32 }
    }

    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            if self.used == self.block.len() {
                let mut hash = Sha256::new();
                hash.update(self.seed);
                hash.update(self.n_blocks.to_le_bytes());
                self.block = hash.finalize().into();
                self.n_blocks += 1;
                self.used = 0;
            }
            *byte = self.block[self.used];
            self.used += 1;
        }
    }
}

impl TryRng for Dice {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        self.fill(out);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use trapjaw_engine::event::Event;
    use trapjaw_engine::time::Time;

    use super::*;

    fn call(event: &str, config: &str) -> JudgeCall {
        JudgeCall {
            event: Arc::new(Event::new("shop", "order.paid", event, Time(0))),
            config: config.into(),
            trigger: "t".into(),
            subject: "".into(),
            now: Time(1),
            facts: "{}".into(),
        }
    }

    #[test]
    fn the_same_call_rolls_the_same() {
        let roll = |event: &str, config: &str| Dice::of(&call(event, config)).roll_u128();
        assert_eq!(roll("1", "{}"), roll("1", "{}"));
        assert_ne!(roll("1", "{}"), roll("2", "{}"));
        assert_ne!(roll("1", "{}"), roll("1", "[]"));
        let dice = Dice::of(&call("1", "{}"));
        assert_ne!(dice.clone().roll_u128(), dice.other().roll_u128());
    }

    #[test]
    fn the_sequence_is_frozen() {
        let mut dice = Dice::from_seed([7; 32]);
        let first: Vec<u32> = (0..9).map(|_| dice.try_next_u32().unwrap()).collect();
        let mut bytes = [0; 36];
        Dice::from_seed([7; 32]).fill(&mut bytes);
        assert_eq!(first[8].to_le_bytes(), bytes[32..]);
        assert_eq!(first[..2], FROZEN, "a stored verdict could not be repeated");
    }

    const FROZEN: [u32; 2] = [3_099_821_948, 4_263_107_314];
}
