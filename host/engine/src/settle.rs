//! Settling: what follows from an attempt. Pure: the same attempt, policy, time and dice give the same.

use std::time::Duration;

use crate::limits::{RESUMES_MAX, RETRY_AFTER_MAX};
use crate::plan::RetryPlan;
use crate::record::{AttemptResult, Progress, TaskState, TaskTo};
use crate::time::Time;

/// How much of each wait is left to chance, so that what failed together is not tried again together.
const JITTER: f64 = 0.2;

/// What an attempt came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It succeeded.
    Done,
    /// The action had nothing to do.
    Skipped,
    /// The action asked to be called again later.
    ResumeAt(Time),
    /// It failed, and another try may help, no sooner than after the time that the remote named.
    Retry {
        /// The remote's wish.
        after: Option<Duration>,
        /// What dead letters are grouped by, should it come to that.
        cause: Box<str>,
    },
    /// It failed, and no other try helps.
    Dead {
        /// What dead letters are grouped by.
        cause: Box<str>,
    },
    /// It was not really made: a breaker, a pause or a limit stood before it. No try is used up.
    Blocked {
        /// What stood before it.
        state: TaskState,
        /// When to look again.
        until: Time,
    },
    /// The definition that it came from is gone.
    Cancelled,
}

/// Where a task stands before it is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Tries before this one.
    pub tries: u32,
    /// Resumes before this one.
    pub resumes: u32,
    /// When the first try was, which is this one's time if it is the first.
    pub first_try: Time,
    /// No try after this, if there is a deadline.
    pub deadline: Option<Time>,
}

/// What follows: where the task goes, and how the attempt is called.
pub fn settle(end: End, standing: Standing, retry: &RetryPlan, now: Time, dice: f64) -> (TaskTo, AttemptResult) {
    let open = |state, due: Option<Time>, tries, resumes| TaskTo::Open(Progress { state, due, tries, resumes });
    match end {
        End::Done => (TaskTo::Closed(TaskState::Succeeded), AttemptResult::Succeeded),
        End::Skipped => (TaskTo::Closed(TaskState::Skipped), AttemptResult::Skipped),
        End::Cancelled => (TaskTo::Closed(TaskState::Cancelled), AttemptResult::Cancelled),
        End::Dead { cause } => (TaskTo::Dead { cause }, AttemptResult::Dead),
        End::Blocked { state, until } => {
            (open(state, Some(until), standing.tries, standing.resumes), AttemptResult::Resumed)
        }
        End::ResumeAt(at) => {
            if standing.resumes >= RESUMES_MAX {
                let cause = format!("asked to be called again {RESUMES_MAX} times").into();
                return (TaskTo::Dead { cause }, AttemptResult::Dead);
            }
            let at = at.max(now);
            if standing.deadline.is_some_and(|deadline| at > deadline) {
                return (TaskTo::Dead { cause: "deadline passed".into() }, AttemptResult::Dead);
            }
            (open(TaskState::Scheduled, Some(at), standing.tries, standing.resumes + 1), AttemptResult::Resumed)
        }
        End::Retry { after, cause } => {
            let tries = standing.tries + 1;
            let wait = wait(retry, tries, after, dice);
            let at = now + wait;
            let is_last = retry.attempts.is_some_and(|most| tries >= most)
                || at.since(standing.first_try) > retry.window
                || standing.deadline.is_some_and(|deadline| at > deadline);
            if is_last {
                (TaskTo::Dead { cause }, AttemptResult::Dead)
            } else {
                (open(TaskState::WaitingRetry, Some(at), tries, standing.resumes), AttemptResult::Failed)
            }
        }
    }
}

/// The wait before the next try: `first · factor^(tries − 1)`, at most `max`, give or take the jitter; longer where
/// the remote asked for it.
fn wait(retry: &RetryPlan, tries: u32, after: Option<Duration>, dice: f64) -> Duration {
    let exponent = i32::try_from(tries.saturating_sub(1)).unwrap_or(i32::MAX);
    let grown = retry.first.as_secs_f64() * retry.factor.powi(exponent);
    let bounded = grown.min(retry.max.as_secs_f64());
    let own = Duration::from_secs_f64(bounded * (1.0 - JITTER + 2.0 * JITTER * dice));
    own.max(after.unwrap_or_default().min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Time = Time(1_000_000_000_000_000);

    fn standing(tries: u32) -> Standing {
        Standing { tries, resumes: 0, first_try: NOW, deadline: None }
    }

    fn check(end: End, standing: Standing, retry: RetryPlan, expected: TaskTo) {
        assert_eq!(settle(end, standing, &retry, NOW, 0.5).0, expected);
    }

    fn failed(after: Option<Duration>) -> End {
        End::Retry { after, cause: "503".into() }
    }

    fn waiting(wait_s: u64, tries: u32) -> TaskTo {
        let due = Some(NOW + Duration::from_secs(wait_s));
        TaskTo::Open(Progress { state: TaskState::WaitingRetry, due, tries, resumes: 0 })
    }

    #[test]
    fn waits_grow_to_their_bound() {
        let retry = RetryPlan::default();
        check(failed(None), standing(0), retry, waiting(5, 1));
        check(failed(None), standing(1), retry, waiting(10, 2));
        check(failed(None), standing(5), retry, waiting(160, 6));
        check(failed(None), standing(40), retry, waiting(6 * 3_600, 41));
        check(failed(None), standing(u32::MAX - 1), retry, waiting(6 * 3_600, u32::MAX));
    }

    #[test]
    fn the_remote_may_ask_for_more_but_not_for_ever() {
        let retry = RetryPlan::default();
        check(failed(Some(Duration::from_secs(60))), standing(0), retry, waiting(60, 1));
        check(failed(Some(Duration::from_secs(1))), standing(0), retry, waiting(5, 1));
        check(failed(Some(Duration::from_secs(86_400))), standing(0), retry, waiting(3_600, 1));
    }

    #[test]
    fn it_ends() {
        let dead = TaskTo::Dead { cause: "503".into() };
        let three = RetryPlan { attempts: Some(3), ..RetryPlan::default() };
        check(failed(None), standing(1), three, waiting(10, 2));
        check(failed(None), standing(2), three, dead.clone());
        let short = RetryPlan { window: Duration::from_secs(4), ..RetryPlan::default() };
        check(failed(None), standing(0), short, dead.clone());
        let late = Standing { deadline: Some(NOW + Duration::from_secs(4)), ..standing(0) };
        check(failed(None), late, RetryPlan::default(), dead.clone());
        check(End::Dead { cause: "503".into() }, standing(0), RetryPlan::default(), dead);
        let tired = Standing { resumes: RESUMES_MAX, ..standing(0) };
        let (to, result) = settle(End::ResumeAt(NOW), tired, &RetryPlan::default(), NOW, 0.5);
        assert!(matches!(to, TaskTo::Dead { .. }) && result == AttemptResult::Dead);
    }

    #[test]
    fn what_is_no_try_uses_none_up() {
        let until = NOW + Duration::from_secs(30);
        let end = End::Blocked { state: TaskState::WaitingBreaker, until };
        let progress = Progress { state: TaskState::WaitingBreaker, due: Some(until), tries: 7, resumes: 0 };
        check(end, standing(7), RetryPlan::default(), TaskTo::Open(progress));
        let progress = Progress { state: TaskState::Scheduled, due: Some(until), tries: 7, resumes: 1 };
        check(End::ResumeAt(until), standing(7), RetryPlan::default(), TaskTo::Open(progress));
    }

    proptest! {
        /// However it is set, a wait is within its jitter, never past the bound's, and a task that keeps failing ends.
        #[test]
        fn waits_stay_in_bounds(first_ms in 0u64..100_000, factor in 1.0f64..100.0, max_ms in 1u64..1_000_000, tries in 1u32..2_000, dice in 0.0f64..1.0) {
            let retry = RetryPlan {
                first: Duration::from_millis(first_ms), factor, max: Duration::from_millis(max_ms),
                ..RetryPlan::default()
            };
            let wait = wait(&retry, tries, None, dice);
            prop_assert!(wait <= retry.max.mul_f64(1.0 + JITTER) + Duration::from_millis(1));
            prop_assert!(wait >= retry.first.min(retry.max).mul_f64(1.0 - JITTER).saturating_sub(Duration::from_millis(1)));
        }
    }
}
