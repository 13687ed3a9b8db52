//! Attempts: from a task that is next to the future that makes the attempt.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::append::{Acting, acting, due};
use crate::definition::{DefinitionTime, OnError, Switch};
use crate::dispatch::Start;
use crate::engine::{Shared, StorePast};
use crate::evaluation::{AttemptDetail, Evaluation, VerdictWord};
use crate::id::RunId;
use crate::judge::{Judgement, Question, judge};
use crate::limits::{JUDGE_TIMEOUT, JUDGE_TRIES_MAX};
use crate::perform::{Attempt, Performed, perform};
use crate::plan::{Plan, RetryPlan, TriggerPlan};
use crate::ports::Past;
use crate::record::TASK_JUDGE;
use crate::route::subjects;
use crate::run::OpenRun;
use crate::settle::End;
use crate::time::Time;

/// An attempt that has ended.
pub(super) enum Ended {
    /// An action's.
    Performed(Box<ActionEnded>),
    /// A judgement.
    Judged(Box<JudgeEnded>),
    /// A person's: a task is cancelled.
    Cancelled { start: Start, actor: Arc<str>, done: Option<oneshot::Sender<bool>> },
    /// A person dropped a dead task of this run: what can only wait for it ends too.
    Dropped { run: RunId, needs: Needs },
    /// What ended while the engine was stopping.
    Many(Vec<Ended>),
}

pub(super) struct ActionEnded {
    pub(super) start: Start,
    pub(super) began: Time,
    pub(super) performed: Performed,
    pub(super) retry: RetryPlan,
    /// What it means for those that wait for others.
    pub(super) needs: Needs,
    pub(super) deadline: Option<Time>,
}

/// What an action's end means for those that wait for others.
pub(super) enum Needs {
    /// Nothing: a person ended it, and whatever else ends with it.
    Kept,
    /// The trigger is gone, and they go with it.
    Gone,
    /// The trigger has these actions, each with those it needs.
    Of(Vec<(Arc<str>, Vec<Arc<str>>)>),
}

pub(super) struct JudgeEnded {
    pub(super) start: Start,
    pub(super) judgement: Judgement,
    pub(super) evaluation: Evaluation,
    pub(super) acting: Option<Acting>,
    /// The conditions hold now, and are to be asked again when the actions are due.
    pub(super) recheck: Option<Time>,
    /// The trigger is gone: nothing was judged.
    pub(super) is_cancelled: bool,
}

impl Ended {
    /// The outcome of an attempt that was lost to a defect of ours.
    pub(super) fn panicked(start: Start, now: Time) -> Self {
        let detail = why("panic", "a defect of the host: see its log".to_owned());
        Self::unmade(start, now, End::Dead { cause: "a defect of the host".into() }, detail, Needs::Kept)
    }

    pub(super) fn run(&self) -> Option<RunId> {
        match self {
            Self::Performed(ended) => Some(ended.start.run),
            Self::Judged(ended) => Some(ended.start.run),
            Self::Cancelled { start, .. } => Some(start.run),
            Self::Dropped { run, .. } => Some(*run),
            Self::Many(_) => None,
        }
    }

    /// Whether the store may refuse the outcome.
    pub(super) fn may_conflict(&self) -> bool {
        match self {
            Self::Performed(ended) => !ended.performed.state.is_empty(),
            Self::Judged(_) | Self::Cancelled { .. } | Self::Dropped { .. } | Self::Many(_) => false,
        }
    }

    fn unmade(start: Start, began: Time, end: End, detail: AttemptDetail, needs: Needs) -> Self {
        let performed = Performed {
            end,
            detail,
            output: serde_json::Value::Null,
            state: Vec::new(),
            state_of: None,
            rendered: None,
        };
        let retry = RetryPlan::default();
        Self::Performed(Box::new(ActionEnded { start, began, performed, retry, needs, deadline: None }))
    }
}

fn why(kind: &str, reason: String) -> AttemptDetail {
    AttemptDetail { kind: Some(kind.to_owned()), reason: Some(reason), ..AttemptDetail::default() }
}

type Work = Pin<Box<dyn Future<Output = Ended> + Send>>;

/// The future that makes the attempt. It pins the trigger as it is now.
pub(super) fn begin(shared: &Arc<Shared>, plan: &Plan, run: &mut OpenRun, start: Start, now: Time) -> Work {
    let is_judging = run.tasks[start.task_at].ordinal == TASK_JUDGE;
    let gone = |what: &str| why("cancelled", format!("{what} (revision {})", plan.revision()));
    let called_off = match plan.trigger(&run.trigger) {
        None => Some("the trigger was removed"),
        Some(trigger) if is_called_off(trigger) => Some("the trigger was disabled"),
        Some(_) => None,
    };
    let trigger = match (called_off, plan.trigger(&run.trigger)) {
        (None, Some(trigger)) => Arc::clone(trigger),
        (Some(_) | None, _) if is_judging => {
            return Box::pin(ready(judge_cancelled(start, run, plan.revision())));
        }
        (what, _) => {
            let detail = gone(what.unwrap_or("the trigger was removed"));
            return Box::pin(ready(Ended::unmade(start, now, End::Cancelled, detail, Needs::Gone)));
        }
    };
    let task = &mut run.tasks[start.task_at];
    if is_judging {
        return Box::pin(judge_attempt(Arc::clone(shared), trigger, run, start));
    }
    let Some(action_at) = trigger.actions.iter().position(|action| action.name == task.action) else {
        let detail = gone("the action was removed");
        return Box::pin(ready(Ended::unmade(start, now, End::Cancelled, detail, needs_of(&trigger))));
    };
    let deadline = trigger.policy.deadline.map(|span| run.created + span);
    if deadline.is_some_and(|deadline| now > deadline) {
        let detail = why("deadline", "the deadline has passed".to_owned());
        let end = End::Dead { cause: "deadline passed".into() };
        return Box::pin(ready(Ended::unmade(start, now, end, detail, Needs::Kept)));
    }
    let attempt = Attempt {
        action_at,
        run: run.id,
        task: task.id,
        event: Arc::clone(&run.event),
        subject: Arc::clone(&run.subject),
        tries: task.progress.tries,
        is_again: task.is_again,
        outputs: Arc::clone(&run.outputs),
        rendered: task.rendered.clone(),
        is_request_kept: task.is_request_kept,
        trigger,
    };
    task.is_again = true;
    let tools = shared.tools.clone();
    Box::pin(async move {
        let performed = perform(&tools, &attempt).await;
        let retry = attempt.trigger.actions[attempt.action_at].retry;
        let needs = needs_of(&attempt.trigger);
        Ended::Performed(Box::new(ActionEnded { start, began: now, performed, retry, needs, deadline }))
    })
}

fn is_called_off(trigger: &TriggerPlan) -> bool {
    trigger.switch == Switch::Disabled && trigger.policy.definition == DefinitionTime::Late
}

/// What each action of the trigger needs.
pub(super) fn needs_of(trigger: &TriggerPlan) -> Needs {
    let named = |places: &[usize]| places.iter().map(|at| Arc::clone(&trigger.actions[*at].name)).collect();
    Needs::Of(trigger.actions.iter().map(|action| (Arc::clone(&action.name), named(&action.needs))).collect())
}

fn judge_cancelled(start: Start, run: &OpenRun, revision: i64) -> Ended {
    let evaluation = Evaluation {
        trigger: run.trigger.to_string(),
        version: run.trigger_version,
        subject: run.subject.to_string(),
        verdict: VerdictWord::NotMatched,
        leaf: None,
        reason: Some(format!("the trigger was removed or disabled before it was judged (revision {revision})")),
        plugins: Vec::new(),
    };
    let judgement = Judgement::No;
    Ended::Judged(Box::new(JudgeEnded {
        start,
        judgement,
        evaluation,
        acting: None,
        recheck: None,
        is_cancelled: true,
    }))
}

fn judge_attempt(
    shared: Arc<Shared>,
    trigger: Arc<TriggerPlan>,
    run: &OpenRun,
    start: Start,
) -> impl Future<Output = Ended> + Send + use<> {
    let past: Arc<dyn Past> = Arc::new(StorePast(Arc::clone(&shared.tools.store)));
    let now = shared.tools.clock.now();
    let question = Question { event: Arc::clone(&run.event), subject: Arc::clone(&run.subject), now, past };
    let created = run.created;
    let is_last = run.tasks[start.task_at].progress.tries + 1 >= JUDGE_TRIES_MAX;
    async move {
        let judged = tokio::time::timeout(JUDGE_TIMEOUT, judge(&trigger, &question)).await;
        let (mut judgement, mut evaluation) = judged.unwrap_or_else(|_| not_judged(&trigger, &question));
        if is_last && matches!(judgement, Judgement::Again(_)) && trigger.policy.on_error == OnError::No {
            judgement = Judgement::No;
        }
        let (mut acts, mut recheck) = (None, None);
        if judgement == Judgement::Go {
            match acts_of(&trigger, &question, created) {
                Ok(acting) => {
                    let due = acting.tasks.iter().find_map(|task| task.progress.due);
                    recheck = due.filter(|_| trigger.policy.recheck);
                    acts = Some(acting);
                }
                Err(reason) => {
                    evaluation.verdict = VerdictWord::Error;
                    evaluation.reason = Some(reason.clone());
                    judgement = Judgement::Dead(reason);
                }
            }
        }
        Ended::Judged(Box::new(JudgeEnded { start, judgement, evaluation, acting: acts, recheck, is_cancelled: false }))
    }
}

/// The judgement that was not made in time.
fn not_judged(trigger: &TriggerPlan, question: &Question) -> (Judgement, Evaluation) {
    let reason = format!("not judged within {}", crate::time::format_span(JUDGE_TIMEOUT));
    let mut evaluation = crate::append::evaluation(trigger, &question.subject);
    evaluation.verdict = VerdictWord::Error;
    evaluation.reason = Some(reason.clone());
    (Judgement::Again(reason), evaluation)
}

/// What the run does, due after the delay that began with its event; a recheck comes when that is over.
fn acts_of(trigger: &TriggerPlan, question: &Question, created: Time) -> Result<Acting, String> {
    // The template of the subject may be mended since the run began, but the run is about what it was about then.
    if !subjects(trigger, &question.event)?.contains(&question.subject) {
        return Err("the event has other subjects by now: replay the event, and drop this".to_owned());
    }
    let began = Question { now: created, ..question.clone() };
    let due = due(trigger, &began)?.filter(|due| *due > question.now);
    acting(trigger, question, due)
}
