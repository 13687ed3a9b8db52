//! A connection's breaker: it stops sending where most sends fail, and tries one now and then. Pure.

use std::time::Duration;

use crate::time::Time;

/// The time over which calls are counted, and how long an open breaker waits before it tries one.
const WINDOW: Duration = Duration::from_secs(30);
/// The window moves in steps of a fifth of it.
const STEPS: i64 = 5;
/// With fewer calls in the window nothing is concluded.
const CALLS_MIN: u32 = 20;

/// The breaker of one connection.
#[derive(Clone, Debug, Default)]
pub struct Breaker {
    steps: [Step; STEPS as usize],
    open_until: Option<Time>,
    /// An open breaker whose time is over lets one call through, and waits for what comes of it.
    probing_since: Option<Time>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Step {
    number: i64,
    calls: u32,
    failures: u32,
}

/// Whether a call may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// It may.
    Pass,
    /// Not before this.
    Until(Time),
}

impl Breaker {
    /// Whether a call may be made now. Where it is the one try of an open breaker, the next ones have to wait for it.
    pub fn gate(&mut self, now: Time) -> Gate {
        match self.open_until {
            None => Gate::Pass,
            Some(until) if now < until => Gate::Until(until),
            Some(_) => match self.probing_since {
                // A try that never came back is given up after the window.
                Some(since) if now < since + WINDOW => Gate::Until(now + Duration::from_secs(1)),
                Some(_) | None => {
                    self.probing_since = Some(now);
                    Gate::Pass
                }
            },
        }
    }

    /// Whether calls are held back.
    pub fn is_open(&self) -> bool {
        self.open_until.is_some()
    }

    /// Notes what came of a call, and says whether the breaker opened with it.
    pub fn note(&mut self, now: Time, ok: bool) -> bool {
        if self.open_until.is_some() {
            self.probing_since = None;
            if ok {
                *self = Self::default();
            } else {
                self.open_until = Some(now + WINDOW);
            }
            return false;
        }
        let number = now.0 / (i64::try_from(WINDOW.as_micros()).expect("thirty seconds fit") / STEPS);
        let step = &mut self.steps[usize::try_from(number.rem_euclid(STEPS)).expect("below the number of steps")];
        if step.number != number {
            *step = Step { number, ..Step::default() };
        }
        step.calls += 1;
        step.failures += u32::from(!ok);
        let live = self.steps.iter().filter(|step| step.number > number - STEPS);
        let (calls, failures) =
            live.fold((0, 0), |(calls, failures), step| (calls + step.calls, failures + step.failures));
        if calls >= CALLS_MIN && failures * 2 >= calls && !ok {
            self.open_until = Some(now + WINDOW);
            return true;
        }
        false
    }

    /// Closes the breaker: a test of the connection passed.
    pub fn close(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Time {
        Time(1_000_000_000_000_000 + seconds * 1_000_000)
    }

    fn failing(calls: u32) -> Breaker {
        let mut breaker = Breaker::default();
        for call in 0..calls {
            breaker.note(at(i64::from(call) / 10), call % 2 == 0);
        }
        breaker
    }

    #[test]
    fn half_failures_of_twenty_open_it() {
        assert_eq!(failing(19).gate(at(2)), Gate::Pass);
        assert_eq!(failing(20).gate(at(2)), Gate::Until(at(31) + Duration::ZERO));
    }

    #[test]
    fn one_call_tries_it_after_thirty_seconds() {
        let mut breaker = failing(20);
        assert_eq!(breaker.gate(at(31)), Gate::Pass);
        assert_eq!(breaker.gate(at(31)), Gate::Until(at(32)));
        breaker.note(at(31), false);
        assert_eq!(breaker.gate(at(32)), Gate::Until(at(61)));
        assert_eq!(breaker.gate(at(61)), Gate::Pass);
        breaker.note(at(61), true);
        assert_eq!(breaker.gate(at(61)), Gate::Pass);
        assert!(!breaker.is_open());
    }

    #[test]
    fn old_failures_are_forgotten() {
        let mut breaker = Breaker::default();
        for _ in 0..19 {
            breaker.note(at(0), false);
        }
        assert!(!breaker.note(at(40), false));
        assert_eq!(breaker.gate(at(40)), Gate::Pass);
    }

    #[test]
    fn a_try_that_never_came_back_is_given_up() {
        let mut breaker = failing(20);
        assert_eq!(breaker.gate(at(31)), Gate::Pass);
        assert_eq!(breaker.gate(at(62)), Gate::Pass);
    }
}
