//! A rate limit, as the generic cell rate algorithm (ITU-T I.371): one time is all it remembers. Pure.

use std::time::Duration;

use crate::plan::Rate;
use crate::time::Time;

/// What a rate limit remembers: the time by which what was let through is used up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket(Time);

impl Bucket {
    /// Takes one, or says when one will be there. Up to a tenth of a second's worth may come at once.
    pub fn take(&mut self, rate: Rate, now: Time) -> Result<(), Time> {
        let gap = rate.per / rate.count;
        let burst = Duration::from_millis(100).max(gap);
        let used_up = self.0.max(now) + gap;
        if used_up > now + burst {
            return Err(used_up - burst);
        }
        self.0 = used_up;
        Ok(())
    }

    /// Whether one is there, without taking it.
    pub fn peek(self, rate: Rate, now: Time) -> Result<(), Time> {
        let mut copy = self;
        copy.take(rate, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_in_a_time() {
        let rate = Rate { count: 100, per: Duration::from_secs(1) };
        let mut bucket = Bucket::default();
        let mut now = Time(1_000_000_000_000_000);
        let mut passed = 0;
        for _ in 0..10_000 {
            now = now + Duration::from_millis(1);
            passed += u32::from(bucket.take(rate, now).is_ok());
        }
        assert!((1_000..=1_011).contains(&passed), "{passed} in ten seconds");
    }

    #[test]
    fn it_says_when() {
        let rate = Rate { count: 1, per: Duration::from_secs(60) };
        let mut bucket = Bucket::default();
        let now = Time(1_000_000_000_000_000);
        assert_eq!(bucket.take(rate, now), Ok(()));
        assert_eq!(bucket.take(rate, now), Err(now + Duration::from_secs(60)));
        assert_eq!(bucket.take(rate, now + Duration::from_secs(60)), Ok(()));
    }
}
