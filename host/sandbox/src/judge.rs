//! One verdict: of a warm instance where one waits, else of a fresh one, and now and then of both.
//!
//! A verdict must follow from its call alone, not from what the instance was called for before. So verdicts of warm
//! instances are repeated on a fresh one: some of them, by count, and every call that a warm instance did not finish.
//! Where the two differ, the fresh one counts and the version's instances are never called twice again.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use trapjaw_engine::ports::{Activity, CallError, Failure, JudgeCall, Past, Report, Verdict};
use wasmtime::Store;

use crate::bindings::condition::exports::trapjaw::plugin::condition;
use crate::bindings::condition::{ConditionPlugin, ConditionPluginPre};
use crate::bindings::types;
use crate::call::{Broken, Lane, Place, Room};
use crate::guest::{Doors, Guest};
use crate::imports::from_guest;
use crate::plugin::{event, extensions, within};
use crate::sandbox::Sandbox;
use crate::settings::REASON_BYTES_MAX;
use crate::warm::{self, Version, WarmPool};
use crate::wasi::WasiOf;

/// A condition that is compiled and linked.
pub(crate) struct Condition {
    pub(crate) pre: ConditionPluginPre<Guest>,
    pub(crate) digest: String,
    pub(crate) reads_past: bool,
    /// None where every call gets a fresh instance.
    pub(crate) version: Option<Version>,
}

/// An instance of a condition; it is made when it is first asked.
pub(crate) struct Witness {
    room: Room,
    instance: Option<ConditionPlugin>,
    n_calls: u32,
}

/// What a witness said.
struct Testimony {
    report: Report<Verdict>,
    /// Whether the witness finished by itself and within its limits; else it must not be asked again.
    is_whole: bool,
}

impl Condition {
    /// Asks the condition, once there is a place.
    pub(crate) async fn judge(&self, sandbox: &Sandbox, call: &JudgeCall, past: Arc<dyn Past>) -> Report<Verdict> {
        let (lane, pool) = (&sandbox.conditions, &sandbox.warm_pool);
        let place = lane.take_place().await;
        let hearing = Hearing { condition: self, lane, place, call, past };
        let Some(version) = self.version.as_ref().filter(|version| version.is_on()) else {
            pool.n_fresh.fetch_add(1, Ordering::Relaxed);
            return hearing.ask(&mut hearing.fresh_witness()).await.report;
        };
        hearing.with_told_past().ask_again(version, pool).await
    }
}

/// One question to a condition, and the place to ask it in.
struct Hearing<'a> {
    condition: &'a Condition,
    lane: &'a Lane,
    place: Place<'a>,
    call: &'a JudgeCall,
    past: Arc<dyn Past>,
}

impl Hearing<'_> {
    /// What is asked twice is told the same.
    fn with_told_past(self) -> Self {
        if !self.condition.reads_past {
            return self;
        }
        let told = Told { past: Arc::clone(&self.past), answers: Mutex::default() };
        Self { past: Arc::new(told), ..self }
    }

    /// Asks an instance that waits; a fresh one where none does, or where the answer is to be repeated.
    async fn ask_again(&self, version: &Version, pool: &WarmPool<Witness>) -> Report<Verdict> {
        let Some(mut witness) = pool.take(version, self.call, self.place.since) else {
            pool.n_fresh.fetch_add(1, Ordering::Relaxed);
            let mut witness = self.fresh_witness();
            let said = self.ask(&mut witness).await;
            self.keep(version, pool, witness, &said);
            return said.report;
        };
        pool.n_warm.fetch_add(1, Ordering::Relaxed);
        witness.room.renew(WasiOf::Condition(self.call.clone()), self.doors());
        let said = self.ask(&mut witness).await;
        let is_kept = self.keep(version, pool, witness, &said);
        if said.is_whole && !version.count_verdict() {
            return said.report;
        }
        pool.n_repeats.fetch_add(1, Ordering::Relaxed);
        let mut witness = self.fresh_witness();
        let fresh = self.ask(&mut witness).await;
        // Both took it, for this one verdict.
        let cpu = said.report.cpu + fresh.report.cpu;
        let counts = weigh(&said.report.answer, &fresh.report.answer);
        if counts == Counts::FreshAndDiffers && pool.switch_off(version) {
            let (digest, trigger) = (&*self.condition.digest, &*self.call.trigger);
            tracing::warn!(
                digest,
                trigger,
                "a fresh instance of the condition says another thing: its warm pool is off"
            );
        }
        if !is_kept {
            self.keep(version, pool, witness, &fresh);
        }
        match counts {
            Counts::Warm => Report { cpu, ..said.report },
            Counts::Fresh | Counts::FreshAndDiffers => Report { cpu, ..fresh.report },
        }
    }

    fn fresh_witness(&self) -> Witness {
        let guest = Guest::new(WasiOf::Condition(self.call.clone()), self.lane.limits(), self.doors());
        Witness { room: self.lane.open(guest), instance: None, n_calls: 0 }
    }

    fn doors(&self) -> Doors {
        let JudgeCall { trigger, subject, .. } = self.call;
        Doors::of_condition(Arc::clone(trigger), Arc::clone(subject), Arc::clone(&self.past))
    }

    async fn ask(&self, witness: &mut Witness) -> Testimony {
        let Witness { room, instance, n_calls } = witness;
        *n_calls += 1;
        let work = evaluate(&self.condition.pre, self.call, &mut room.store, instance);
        let answer = self.lane.call(&self.place, &room.meter, work).await;
        let is_finished = answer.is_ok();
        let report =
            Report { answer: answer.and_then(read), log: room.store.data_mut().take_log(), cpu: room.meter.so_far() };
        let is_whole = is_finished && !matches!(report.answer, Err(CallError::Limit { .. }));
        Testimony { report, is_whole }
    }

    /// Lets the witness wait for another call, if it may have one; else it is gone. Says which.
    fn keep(&self, version: &Version, pool: &WarmPool<Witness>, mut witness: Witness, said: &Testimony) -> bool {
        let guest = witness.room.store.data_mut();
        let is_small = guest.limiter.memory_bytes() <= warm::BYTES_MAX;
        let may_wait = said.is_whole && is_small && witness.n_calls < version.uses();
        if may_wait {
            guest.rest();
            pool.put(version, self.call, witness, self.place.since);
        }
        may_wait
    }
}

async fn evaluate(
    pre: &ConditionPluginPre<Guest>,
    call: &JudgeCall,
    store: &mut Store<Guest>,
    instance: &mut Option<ConditionPlugin>,
) -> Result<Result<condition::Verdict, types::Failure>, Broken> {
    let plugin = match instance {
        Some(plugin) => plugin,
        None => instance.insert(pre.instantiate_async(&mut *store).await.map_err(Broken::instantiate)?),
    };
    let extensions = extensions(&call.event);
    let context = types::Context {
        run_id: "",
        trigger: &call.trigger,
        action: "",
        subject: &call.subject,
        attempt: 1,
        now_us: call.now.as_micros(),
        facts: &call.facts,
        extensions: &[],
    };
    let condition = plugin.trapjaw_plugin_condition();
    condition.call_evaluate(store, event(&call.event, &extensions), &call.config, context).await.map_err(Broken::call)
}

fn read(answer: Result<condition::Verdict, types::Failure>) -> Result<Verdict, CallError> {
    let verdict = answer.map_err(|failure| CallError::Failed(from_guest(failure)))?;
    let reason = verdict.reason.map(|reason| within("reason", reason, REASON_BYTES_MAX)).transpose()?;
    Ok(Verdict { matched: verdict.matched, reason })
}

/// Which of two answers to the same call counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counts {
    Warm,
    Fresh,
    FreshAndDiffers,
}

/// A limit or an error of the host says nothing of what the guest remembers: time is the machine's, and memory fills
/// with age. So it proves no difference, and what the other said counts.
fn weigh(warm: &Result<Verdict, CallError>, fresh: &Result<Verdict, CallError>) -> Counts {
    let is_cut_short =
        |answer: &Result<Verdict, CallError>| matches!(answer, Err(CallError::Limit { .. } | CallError::Host(_)));
    let is_same = match (warm, fresh) {
        // The frames below the trap may be others.
        (Err(CallError::Trap { message: warm, .. }), Err(CallError::Trap { message: fresh, .. })) => warm == fresh,
        (warm, fresh) => warm == fresh,
    };
    if is_cut_short(warm) {
        Counts::Fresh
    } else if is_cut_short(fresh) || is_same {
        Counts::Warm
    } else {
        Counts::FreshAndDiffers
    }
}

/// What happened before, as it was first told: it may change between a call and its repeat.
struct Told {
    past: Arc<dyn Past>,
    /// At most the look-ups of two calls.
    answers: Mutex<Vec<Answer>>,
}

struct Answer {
    trigger: String,
    subject: String,
    activity: Result<Activity, Failure>,
}

#[async_trait]
impl Past for Told {
    async fn activity(&self, trigger: &str, subject: &str) -> Result<Activity, Failure> {
        let is_it = |answer: &&Answer| answer.trigger == trigger && answer.subject == subject;
        let told = self
            .answers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .find(is_it)
            .map(|it| it.activity.clone());
        if let Some(activity) = told {
            return activity;
        }
        let activity = self.past.activity(trigger, subject).await;
        let answer = Answer { trigger: trigger.into(), subject: subject.into(), activity: activity.clone() };
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
        activity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_guest_said_is_compared() {
        let verdict = |matched, reason: &str| Ok(Verdict { matched, reason: Some(reason.into()) });
        let failed = |message: &str| Err(CallError::Failed(Failure::rejected(message)));
        let trap = |message: &str, backtrace: &str| {
            Err(CallError::Trap { message: message.into(), backtrace: backtrace.into() })
        };
        let limit = || Err(CallError::Limit { message: "thread time, 50ms".into(), backtrace: String::new() });
        let check = |warm, fresh, expected| assert_eq!(weigh(&warm, &fresh), expected, "{warm:?}, {fresh:?}");
        check(verdict(true, "a"), verdict(true, "a"), Counts::Warm);
        check(verdict(true, "a"), verdict(false, "a"), Counts::FreshAndDiffers);
        check(verdict(true, "a"), verdict(true, "b"), Counts::FreshAndDiffers);
        check(verdict(true, "a"), failed("a"), Counts::FreshAndDiffers);
        check(failed("a"), failed("a"), Counts::Warm);
        check(failed("a"), failed("b"), Counts::FreshAndDiffers);
        check(trap("a", "0: x"), trap("a", "0: y"), Counts::Warm);
        check(trap("a", ""), trap("b", ""), Counts::FreshAndDiffers);
        check(trap("a", ""), verdict(true, "a"), Counts::FreshAndDiffers);
        check(limit(), verdict(true, "a"), Counts::Fresh);
        check(limit(), limit(), Counts::Fresh);
        check(verdict(true, "a"), limit(), Counts::Warm);
    }
}
