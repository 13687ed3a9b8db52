//! One trigger's lane: what is ready, what is under way, and what its policy lets start.

use std::collections::VecDeque;
use std::sync::Arc;

use super::LaneView;
use crate::definition::Switch;
use crate::id::RunId;
use crate::plan::TriggerPlan;
use crate::rate::Bucket;
use crate::time::Time;

/// One trigger's open work.
#[derive(Default)]
pub(super) struct Lane {
    pub(super) ready: VecDeque<(RunId, usize)>,
    pub(super) n_runs: usize,
    pub(super) n_busy: u32,
    /// Of these, those whose attempt is under way; the others wait to be settled.
    pub(super) n_trying: u32,
    /// Of those, the ones that call a plugin.
    pub(super) n_calls: u32,
    pub(super) in_ring: bool,
    /// When a used-up rate lets the next one start.
    pub(super) until: Option<Time>,
    /// The last task in memory, where the store has more.
    pub(super) spilled_after: Option<i64>,
    bucket: Bucket,
    /// The bucket has been used.
    is_rated: bool,
    is_loading: bool,
    /// What was left in the store while a page was on its way may not be on it: before its first task.
    missed_after: Option<i64>,
}

impl Lane {
    /// Whether the policy lets another attempt start; a used-up rate says when.
    pub(super) fn may_start(&mut self, trigger: Option<&TriggerPlan>, now: Time) -> bool {
        // A trigger that is gone starts its tasks too: they are cancelled by name.
        let Some(trigger) = trigger else { return true };
        if trigger.switch == Switch::Paused || trigger.policy.concurrency.is_some_and(|most| self.n_busy >= most) {
            return false;
        }
        if let Some(rate) = trigger.policy.rate
            && let Err(until) = self.bucket.peek(rate, now)
        {
            self.until = Some(until);
            return false;
        }
        true
    }

    pub(super) fn started(&mut self, trigger: Option<&TriggerPlan>, now: Time) {
        self.n_busy += 1;
        if let Some(rate) = trigger.and_then(|trigger| trigger.policy.rate) {
            // It was there a moment ago, under the same time.
            let _taken = self.bucket.take(rate, now);
            self.is_rated = true;
        }
    }

    /// Leaves a run in the store: its first task is `task`.
    pub(super) fn spill(&mut self, task: i64) {
        let before = task.saturating_sub(1);
        let place = if self.is_loading { &mut self.missed_after } else { &mut self.spilled_after };
        *place = Some(place.map_or(before, |after| after.min(before)));
    }

    pub(super) fn wants_more(&self, half: usize) -> bool {
        self.spilled_after.is_some() && !self.is_loading && self.n_runs <= half
    }

    /// A page is on its way: the tasks after this one.
    pub(super) fn begin_load(&mut self) -> i64 {
        self.is_loading = true;
        self.spilled_after.unwrap_or_default()
    }

    /// The page is here. It ended with the task `last`, and `is_all` says that the store had no more.
    pub(super) fn end_load(&mut self, last: Option<i64>, is_all: bool) {
        self.is_loading = false;
        let rest = if is_all { None } else { last.or(self.spilled_after) };
        let missed = self.missed_after.take();
        self.spilled_after = [rest, missed].into_iter().flatten().min();
    }

    pub(super) fn has_work(&self) -> bool {
        self.n_runs > 0 || self.n_busy > 0 || self.spilled_after.is_some() || self.is_loading
    }

    /// Whether nothing is lost with the lane: no work, and no rate that the next run has to keep to.
    pub(super) fn is_idle(&self) -> bool {
        !self.has_work() && !self.is_rated
    }

    pub(super) fn view(&self, trigger: &Arc<str>) -> LaneView {
        LaneView {
            trigger: Arc::clone(trigger),
            n_runs: self.n_runs,
            n_ready: self.ready.len(),
            n_busy: self.n_busy,
            has_more: self.spilled_after.is_some(),
        }
    }
}
