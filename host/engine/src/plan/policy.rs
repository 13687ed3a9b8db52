//! Policies, from words to values.

use std::time::Duration;

use crate::definition::{self, DefinitionTime, OnError, Per};
use crate::limits::CAP_RUNS_MAX;
use crate::problem::Problem;
use crate::template::Template;
use crate::time::{format_span, parse_span};

/// The shortest wait between two tries. Without one a task that fails at once is tried without a pause until its
/// window closes, for three days.
pub const RETRY_WAIT_MIN: Duration = Duration::from_millis(10);
/// The shortest time limit of an attempt: in none no attempt can succeed.
pub const TIMEOUT_MIN: Duration = Duration::from_millis(1);

/// How a trigger is carried out.
pub struct PolicyPlan {
    /// How long after the event the actions run.
    pub delay: Duration,
    /// When the actions run at the earliest.
    pub not_before: Option<Template>,
    /// How long after the event a task may still be tried.
    pub deadline: Option<Duration>,
    /// Whether the conditions are asked again after the delay.
    pub recheck: bool,
    /// What keeps runs in order.
    pub order_by: Option<Order>,
    /// Cap and cooldown.
    pub guard: Option<GuardPlan>,
    /// The most attempts in a time.
    pub rate: Option<Rate>,
    /// The most attempts at one time.
    pub concurrency: Option<u32>,
    /// What becomes of an evaluation that went wrong.
    pub on_error: OnError,
    /// What becomes of the tasks of a trigger that was disabled after their run began.
    pub definition: DefinitionTime,
}

/// What keeps runs in order.
pub enum Order {
    /// The subject.
    Subject,
    /// A template.
    Key(Template),
}

/// A cap and a cooldown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuardPlan {
    /// The most runs, and in which time; ever when it has none.
    pub limit: Option<(u32, Option<Duration>)>,
    /// What the limit counts.
    pub per: Per,
    /// The shortest gap since the last run.
    pub cooldown: Option<Duration>,
}

/// So many in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// In which time.
    pub per: Duration,
}

/// How a failed attempt is tried again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPlan {
    /// The wait before the second try.
    pub first: Duration,
    /// What each wait is multiplied by to give the next.
    pub factor: f64,
    /// The longest wait.
    pub max: Duration,
    /// How long after its first try a task may still be tried.
    pub window: Duration,
    /// The most tries.
    pub attempts: Option<u32>,
}

impl Default for RetryPlan {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(5),
            factor: 2.0,
            max: Duration::from_secs(6 * 3_600),
            window: Duration::from_secs(72 * 3_600),
            attempts: None,
        }
    }
}

/// Reads words, and gathers what is wrong with them.
pub(super) struct Reader<'a> {
    pub(super) path: String,
    pub(super) problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    pub(super) fn problem(&mut self, name: &str, message: impl Into<String>) {
        let path = if name.is_empty() { self.path.clone() } else { format!("{}.{name}", self.path) };
        self.problems.push(Problem::at(path, message));
    }

    pub(super) fn span(&mut self, name: &str, text: Option<&str>) -> Option<Duration> {
        let text = text?;
        let span = parse_span(text);
        if span.is_none() {
            self.problem(name, format!("`{text}` is no duration; write 500ms, 30s, 5m, 6h or 3d"));
        }
        span
    }

    /// A span that is at least this long.
    pub(super) fn span_from(&mut self, name: &str, text: Option<&str>, min: Duration) -> Option<Duration> {
        let span = self.span(name, text)?;
        if span < min {
            self.problem(name, format!("at least {} is wanted", format_span(min)));
        }
        Some(span)
    }

    pub(super) fn rate(&mut self, name: &str, text: Option<&str>) -> Option<Rate> {
        let text = text?;
        let rate = text.split_once('/').and_then(|(count, per)| {
            let per = if per.starts_with(|c: char| c.is_ascii_digit()) {
                parse_span(per)
            } else {
                parse_span(&format!("1{per}"))
            };
            Some(Rate { count: count.parse().ok()?, per: per? })
        });
        if rate.is_none_or(|rate| rate.count == 0 || rate.per.is_zero()) {
            self.problem(name, format!("`{text}` is no rate; write 100/s or 5000/h"));
            return None;
        }
        rate
    }

    pub(super) fn concurrency(&mut self, name: &str, count: Option<u32>) -> Option<u32> {
        if count == Some(0) {
            self.problem(name, "at least 1 is wanted; pause the trigger to stop it");
        }
        count
    }

    pub(super) fn template(&mut self, name: &str, text: Option<&str>) -> Option<Template> {
        match Template::text(text?) {
            Ok(template) => Some(template),
            Err(problems) => {
                problems.into_iter().for_each(|problem| self.problem(name, problem.message));
                None
            }
        }
    }

    pub(super) fn retry(&mut self, retry: Option<&definition::Retry>, base: RetryPlan) -> RetryPlan {
        let Some(retry) = retry else { return base };
        if retry.factor.is_some_and(|factor| !(1.0..=100.0).contains(&factor)) {
            self.problem("retry.factor", "1 to 100 is wanted");
        }
        if retry.attempts == Some(0) {
            self.problem("retry.attempts", "at least 1 is wanted");
        }
        RetryPlan {
            first: self.span_from("retry.first", retry.first.as_deref(), RETRY_WAIT_MIN).unwrap_or(base.first),
            factor: retry.factor.unwrap_or(base.factor),
            max: self.span_from("retry.max", retry.max.as_deref(), RETRY_WAIT_MIN).unwrap_or(base.max),
            window: self.span("retry.for", retry.r#for.as_deref()).unwrap_or(base.window),
            attempts: retry.attempts.or(base.attempts),
        }
    }

    pub(super) fn policy(&mut self, policy: &definition::Policy) -> PolicyPlan {
        let limit = policy.limit.as_ref().map(|limit| {
            let window = self.span("limit.in", limit.r#in.as_deref());
            if limit.runs == 0 || (window.is_some() && limit.runs > CAP_RUNS_MAX) {
                self.problem("limit.runs", format!("1 to {CAP_RUNS_MAX} is wanted"));
            }
            (limit.runs, window)
        });
        let cooldown = self.span("cooldown", policy.cooldown.as_deref());
        let per = policy.limit.as_ref().map(|limit| limit.per).unwrap_or_default();
        if per == Per::Trigger && cooldown.is_some() {
            self.problem("cooldown", "a cooldown is kept by subject, and this limit by trigger: have one of them");
        }
        let has_wait = policy.delay.is_some() || policy.not_before.is_some();
        if policy.recheck && !has_wait {
            self.problem("recheck", "there is nothing to wait for: give `delay` or `not_before`");
        }
        PolicyPlan {
            delay: self.span("delay", policy.delay.as_deref()).unwrap_or_default(),
            not_before: self.template("not_before", policy.not_before.as_deref()),
            deadline: self.span("deadline", policy.deadline.as_deref()),
            recheck: policy.recheck,
            order_by: match policy.order_by.as_deref() {
                None => None,
                Some("subject") => Some(Order::Subject),
                Some(text) => self.template("order_by", Some(text)).map(Order::Key),
            },
            guard: (limit.is_some() || cooldown.is_some()).then_some(GuardPlan { limit, per, cooldown }),
            rate: self.rate("rate", policy.rate.as_deref()),
            concurrency: self.concurrency("concurrency", policy.concurrency),
            on_error: policy.on_error.unwrap_or_default(),
            definition: policy.definition.unwrap_or_default(),
        }
    }
}
