//! Appending: what an event becomes in the store, with every run it causes, before anyone is told that it was taken.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::definition::Per;
use crate::evaluation::{Evaluation, VerdictWord, write_evaluations};
use crate::event::Event;
use crate::judge::{Judgement, Question, asks_plugins, judge};
use crate::plan::{Plan, TriggerPlan};
use crate::ports::Past;
use crate::record::{Guard, NewEvent, NewRun, NewTask, Progress, RunState, TASK_JUDGE, TaskState};
use crate::route::{order_key, route, subjects};
use crate::template::Scope;
use crate::time::Time;

/// Routes and judges an event, and drafts what is to be written.
///
/// Judging here is an optimisation with a budget: a trigger that asks plugins and is not done when the budget is used
/// up gets a run that is judged after the append.
pub async fn draft(plan: &Plan, event: Arc<Event>, now: Time, budget: Duration, past: &Arc<dyn Past>) -> NewEvent {
    let until = Instant::now() + budget;
    let mut evaluations = Vec::new();
    let mut runs = Vec::new();
    for trigger in route(plan, &event) {
        let question = |subject| Question { event: Arc::clone(&event), subject, now, past: Arc::clone(past) };
        match subjects(&trigger, &event) {
            Ok(subjects) => {
                for (number, subject) in (0u32..).zip(subjects) {
                    let question = question(subject);
                    let (judgement, evaluation) = in_budget(&trigger, &question, until).await;
                    runs.extend(run_of(&trigger, &question, number, &judgement));
                    evaluations.push(evaluation.into_kept());
                }
            }
            Err(reason) => {
                // The same error comes of it after the append, where it becomes a dead letter.
                evaluations.push(broken(&trigger, reason));
                runs.push(judged_later(&trigger, &question("".into()), 0, None));
            }
        }
    }
    NewEvent { event, received: now, dedup: None, evaluations: write_evaluations(&evaluations), runs }
}

async fn in_budget(trigger: &TriggerPlan, question: &Question, until: Instant) -> (Option<Judgement>, Evaluation) {
    if !asks_plugins(&trigger.when) {
        let (judgement, evaluation) = judge(trigger, question).await;
        return (Some(judgement), evaluation);
    }
    match tokio::time::timeout_at(until, judge(trigger, question)).await {
        Ok((Judgement::Again(_), mut evaluation)) => {
            evaluation.verdict = VerdictWord::Judging;
            (None, evaluation)
        }
        Ok((judgement, evaluation)) => (Some(judgement), evaluation),
        Err(_) => (None, Evaluation { verdict: VerdictWord::Judging, ..evaluation(trigger, &question.subject) }),
    }
}

/// The run that a judgement makes; none where the conditions do not hold.
fn run_of(trigger: &TriggerPlan, question: &Question, number: u32, judgement: &Option<Judgement>) -> Option<NewRun> {
    match judgement {
        Some(Judgement::No) => None,
        // What went wrong goes wrong again after the append, where it becomes a dead letter.
        Some(Judgement::Again(_) | Judgement::Dead(_)) | None => Some(judged_later(trigger, question, number, None)),
        Some(Judgement::Go) => {
            let due = match due(trigger, question) {
                Ok(due) => due,
                Err(_) => return Some(judged_later(trigger, question, number, None)),
            };
            if trigger.policy.recheck && due.is_some() {
                return Some(judged_later(trigger, question, number, due));
            }
            match acting(trigger, question, due) {
                Ok(acting) => Some(NewRun {
                    state: acting.state,
                    guard: acting.guard,
                    tasks: acting.tasks,
                    order_key: acting.order_key,
                    ..blank(trigger, question, number)
                }),
                Err(_) => Some(judged_later(trigger, question, number, None)),
            }
        }
    }
}

/// What a run does that was found to go.
pub struct Acting {
    /// What the run becomes.
    pub state: RunState,
    /// The cap or cooldown that the commit checks and reserves.
    pub guard: Option<Guard>,
    /// Its tasks.
    pub tasks: Vec<NewTask>,
    /// What it is ordered by.
    pub order_key: Option<Arc<str>>,
}

/// The tasks of a run that goes, due when they are due.
pub fn acting(trigger: &TriggerPlan, question: &Question, due: Option<Time>) -> Result<Acting, String> {
    let start = if due.is_some() { TaskState::Scheduled } else { TaskState::Running };
    let tasks: Vec<NewTask> = (0i32..)
        .zip(&trigger.actions)
        .map(|(ordinal, action)| {
            let state = if action.needs.is_empty() { start } else { TaskState::WaitingNeeds };
            NewTask { action: Arc::clone(&action.name), ordinal, progress: Progress { state, due, ..Progress::READY } }
        })
        .collect();
    Ok(Acting {
        state: RunState::of_tasks(tasks.iter().map(|task| task.progress.state)),
        guard: guard(trigger, &question.subject),
        order_key: order_key(trigger, &question.event, &question.subject)?,
        tasks,
    })
}

/// When the actions run at the earliest; none for at once.
pub fn due(trigger: &TriggerPlan, question: &Question) -> Result<Option<Time>, String> {
    let after_delay = (!trigger.policy.delay.is_zero()).then(|| question.now + trigger.policy.delay);
    let Some(template) = &trigger.policy.not_before else { return Ok(after_delay) };
    let mut scope = Scope::new(Arc::clone(&question.event));
    scope.subject = Arc::clone(&question.subject);
    scope.now = question.now;
    let text = template.render_text(&scope).map_err(|reason| format!("policy.not_before: {reason}"))?;
    let at = Time::parse(&text).ok_or_else(|| format!("policy.not_before: `{text}` is no time in RFC 3339"))?;
    Ok(after_delay.max(Some(at)).filter(|at| *at > question.now))
}

fn guard(trigger: &TriggerPlan, subject: &Arc<str>) -> Option<Guard> {
    trigger.policy.guard.map(|guard| Guard {
        subject: match guard.per {
            Per::Subject => Arc::clone(subject),
            Per::Trigger => "".into(),
        },
        limit: guard.limit,
        cooldown: guard.cooldown,
    })
}

fn judged_later(trigger: &TriggerPlan, question: &Question, number: u32, due: Option<Time>) -> NewRun {
    let state = if due.is_some() { TaskState::Scheduled } else { TaskState::Running };
    NewRun {
        state: if due.is_some() { RunState::Scheduled } else { RunState::Running },
        tasks: vec![NewTask {
            action: "".into(),
            ordinal: TASK_JUDGE,
            progress: Progress { state, due, ..Progress::READY },
        }],
        // An ordering key that cannot be rendered is an error of the judgement that follows.
        order_key: order_key(trigger, &question.event, &question.subject).unwrap_or_default(),
        ..blank(trigger, question, number)
    }
}

fn blank(trigger: &TriggerPlan, question: &Question, number: u32) -> NewRun {
    NewRun {
        trigger: Arc::clone(&trigger.name),
        trigger_version: trigger.version,
        subject: Arc::clone(&question.subject),
        subject_no: number,
        order_key: None,
        state: RunState::Running,
        guard: None,
        tasks: Vec::new(),
    }
}

fn broken(trigger: &TriggerPlan, reason: String) -> Evaluation {
    Evaluation { verdict: VerdictWord::Error, reason: Some(reason), ..evaluation(trigger, "") }
}

/// An evaluation that says matched and nothing more.
pub(crate) fn evaluation(trigger: &TriggerPlan, subject: &str) -> Evaluation {
    Evaluation {
        trigger: trigger.name.to_string(),
        version: trigger.version,
        subject: subject.to_owned(),
        verdict: VerdictWord::Matched,
        leaf: None,
        reason: None,
        plugins: Vec::new(),
    }
}
