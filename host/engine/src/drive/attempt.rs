//! Attempts: from a task that is next to the future that makes the attempt.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::append::{Acting, acting, due};
use crate::definition::{DefinitionTime, Switch};
use crate::dispatch::Start;
use crate::engine::{Shared, StorePast};
use crate::evaluation::{AttemptDetail, Evaluation, VerdictWord};
use crate::id::RunId;
use crate::judge::{Judgement, Question, judge};
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
    /// What ended while the engine was stopping.
    Many(Vec<Ended>),
}

pub(super) struct ActionEnded {
    pub(super) start: Start,
    pub(super) began: Time,
    pub(super) performed: Performed,
    pub(super) retry: RetryPlan,
    /// Which actions need which, by name.
    pub(super) needs: Needs,
    pub(super) deadline: Option<Time>,
}

/// The actions of a trigger that need others, each with those it needs.
pub(super) type Needs = Vec<(Arc<str>, Vec<Arc<str>>)>;

pub(super) struct JudgeEnded {
    pub(super) start: Start,
    pub(super) judgement: Judgement,
    pub(super) evaluation: Evaluation,
    pub(super) acting: Option<Acting>,
    /// The trigger is gone: nothing was judged.
    pub(super) is_cancelled: bool,
}

impl Ended {
    /// The outcome of an attempt that was lost to a defect of ours.
    pub(super) fn panicked(start: Start, now: Time) -> Self {
        let detail = why("panic", "a defect of the host: see its log".to_owned());
        Self::unmade(start, now, End::Dead { cause: "a defect of the host".into() }, detail)
    }

    pub(super) fn run(&self) -> Option<RunId> {
        match self {
            Self::Performed(ended) => Some(ended.start.run),
            Self::Judged(ended) => Some(ended.start.run),
            Self::Cancelled { start, .. } => Some(start.run),
            Self::Many(_) => None,
        }
    }

    /// Whether the store may refuse the outcome.
    pub(super) fn may_conflict(&self) -> bool {
        match self {
            Self::Performed(ended) => !ended.performed.state.is_empty(),
            Self::Judged(_) | Self::Cancelled { .. } | Self::Many(_) => false,
        }
    }

    fn unmade(start: Start, began: Time, end: End, detail: AttemptDetail) -> Self {
        let performed = Performed {
            end,
            detail,
            output: serde_json::Value::Null,
            state: Vec::new(),
            state_of: None,
            rendered: None,
        };
        let (retry, needs) = (RetryPlan::default(), Needs::new());
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
        (Some(_) | None, _) if is_judging => return Box::pin(ready(judge_cancelled(start, run))),
        (what, _) => {
            let ended = Ended::unmade(start, now, End::Cancelled, gone(what.unwrap_or("the trigger was removed")));
            return Box::pin(ready(ended));
        }
    };
    let task = &mut run.tasks[start.task_at];
    task.first_try.get_or_insert(now);
    if is_judging {
        return Box::pin(judge_attempt(Arc::clone(shared), trigger, run, start));
    }
    let Some(action_at) = trigger.actions.iter().position(|action| action.name == task.action) else {
        return Box::pin(ready(Ended::unmade(start, now, End::Cancelled, gone("the action was removed"))));
    };
    let deadline = trigger.policy.deadline.map(|span| run.created + span);
    if deadline.is_some_and(|deadline| now > deadline) {
        let detail = why("deadline", "the deadline has passed".to_owned());
        return Box::pin(ready(Ended::unmade(start, now, End::Dead { cause: "deadline passed".into() }, detail)));
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

fn needs_of(trigger: &TriggerPlan) -> Needs {
    let named = |places: &[usize]| places.iter().map(|at| Arc::clone(&trigger.actions[*at].name)).collect();
    let needy = trigger.actions.iter().filter(|action| !action.needs.is_empty());
    needy.map(|action| (Arc::clone(&action.name), named(&action.needs))).collect()
}

fn judge_cancelled(start: Start, run: &OpenRun) -> Ended {
    let evaluation = Evaluation {
        trigger: run.trigger.to_string(),
        version: run.trigger_version,
        subject: run.subject.to_string(),
        verdict: VerdictWord::NotMatched,
        leaf: None,
        reason: Some("the trigger was removed or disabled before it was judged".into()),
        plugins: Vec::new(),
    };
    let judgement = Judgement::No;
    Ended::Judged(Box::new(JudgeEnded { start, judgement, evaluation, acting: None, is_cancelled: true }))
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
    async move {
        let (mut judgement, mut evaluation) = judge(&trigger, &question).await;
        let mut acts = None;
        if matches!(judgement, Judgement::Go | Judgement::Hold) {
            match acts_of(&trigger, &question, created, judgement == Judgement::Hold) {
                Ok(acting) => acts = Some(acting),
                Err(reason) => {
                    evaluation.verdict = VerdictWord::Error;
                    evaluation.reason = Some(reason.clone());
                    judgement = Judgement::Dead(reason);
                }
            }
        }
        Ended::Judged(Box::new(JudgeEnded { start, judgement, evaluation, acting: acts, is_cancelled: false }))
    }
}

/// What the run does, due after the delay that began with its event; a recheck comes when that is over.
fn acts_of(trigger: &TriggerPlan, question: &Question, created: Time, is_held: bool) -> Result<Acting, String> {
    subjects(trigger, &question.event)?;
    let began = Question { now: created, ..question.clone() };
    let due = due(trigger, &began)?.filter(|due| *due > question.now);
    acting(trigger, question, due, is_held)
}
