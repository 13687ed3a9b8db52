//! What is kept of judging and of attempts, in formats of our own: JSON behind a version byte.
//!
//! What can be worked out again is not kept: a pattern that missed, and the values that an expression looked at, follow
//! from the stored event and the trigger's version.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::ports::{CallLog, Receipt};

/// The version byte of every format here.
const VERSION: u8 = 1;

/// What one event against one trigger and subject gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// The trigger.
    pub trigger: String,
    /// Its version.
    pub version: i64,
    /// Whom or what the run would be about; empty for no one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject: String,
    /// The verdict.
    pub verdict: VerdictWord,
    /// The condition that decided, such as `when[0].any[1]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaf: Option<String>,
    /// Why, in words: a plugin's own reason, or the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The plugins that were asked: name, version and digest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<PluginAsked>,
}

/// A version of a plugin that was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginAsked {
    /// The plugin.
    pub name: String,
    /// The version.
    pub version: String,
    /// SHA-256 of the component, in hex.
    pub digest: String,
    /// What it logged: level and line. Of a condition it is kept where the evaluation went wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<(String, String)>,
}

impl Evaluation {
    /// The evaluation as it is kept with its event: conditions that worked log for whoever explains or tries, and
    /// not for the disk.
    pub(crate) fn into_kept(mut self) -> Self {
        if self.verdict != VerdictWord::Error {
            self.plugins.iter_mut().for_each(|plugin| plugin.log.clear());
        }
        self
    }
}

/// The lines of a guest's log as they are kept: level and text.
pub(crate) fn lines_of(log: CallLog) -> Vec<(String, String)> {
    log.lines.into_iter().map(|line| (line.level.word().to_owned(), line.text)).collect()
}

/// A verdict, as people see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerdictWord {
    /// The conditions hold.
    Matched,
    /// They do not.
    NotMatched,
    /// A value was missing.
    Unknown,
    /// The evaluation went wrong.
    Error,
    /// A value was missing, and the run waits for a person.
    Held,
    /// It is judged after the append; the run shows what came of it.
    Judging,
}

/// Writes evaluations as they are kept; nothing for none.
pub fn write_evaluations(evaluations: &[Evaluation]) -> Bytes {
    if evaluations.is_empty() { Bytes::new() } else { write(evaluations) }
}

/// Reads evaluations as they were kept.
pub fn read_evaluations(blob: &[u8]) -> Vec<Evaluation> {
    read(blob).unwrap_or_default()
}

/// Says of the evaluations whose run was refused by a cap or a cooldown that they did not match: the commit decided
/// that, after the evaluation was written. `has_run` tells by trigger and subject.
pub fn note_refused(evaluations: &mut [Evaluation], has_run: impl Fn(&str, &str) -> bool) {
    for evaluation in evaluations.iter_mut().filter(|one| one.verdict == VerdictWord::Matched) {
        if !has_run(&evaluation.trigger, &evaluation.subject) {
            evaluation.verdict = VerdictWord::NotMatched;
            evaluation.leaf = Some("policy".to_owned());
            evaluation.reason = Some("the trigger's cap or cooldown let no further run begin".to_owned());
        }
    }
}

/// What is kept of an attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AttemptDetail {
    /// Why it failed, or was skipped or cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// `transient`, `permanent`, `rejected`, `trap`, `limit`, `timeout`, `unauthorized` or `template`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The guest's frames, where it trapped.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub backtrace: String,
    /// The guest's log: level and line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<(String, String)>,
    /// The guest's standard error.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stderr: String,
    /// Lines of the log beyond its bound.
    #[serde(skip_serializing_if = "is_zero")]
    pub log_dropped: u32,
    /// What the action gave for later actions, JSON text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// The plugin that was called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin: Option<PluginAsked>,
    /// The connection that was sent to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
    /// The remote's HTTP status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The start of the remote's answer, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// The thread time that the guest took, in microseconds.
    #[serde(skip_serializing_if = "is_zero_u64")]
    pub cpu_us: u64,
    /// The idempotency key of the send.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// The message of a failed send, so that every try sends the same bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
    /// Recorded sends that this try did not make again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub diverged: Vec<String>,
    /// When the tries began that its policy's time is counted from, in microseconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_us: Option<i64>,
    /// When the next try is due, in microseconds since the epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_us: Option<i64>,
    /// The person who did it, where it was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
}

/// A rendered message as it is kept between tries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Request {
    /// The body, where it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The body, where it is not: its bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Vec<u8>>,
    /// Its media type.
    pub content_type: String,
    /// The key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The options, without the headers that may hold secrets: those are rendered at each try.
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    pub options: serde_json::Map<String, serde_json::Value>,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

fn is_zero_u64(count: &u64) -> bool {
    *count == 0
}

impl AttemptDetail {
    /// The detail as it is kept; nothing where there is nothing to say.
    pub fn write(&self) -> Bytes {
        if *self == Self::default() { Bytes::new() } else { write(self) }
    }

    /// Takes what a guest wrote.
    pub(crate) fn take_log(&mut self, log: CallLog) {
        self.stderr.clone_from(&log.stderr);
        self.log_dropped = log.n_dropped;
        self.log = lines_of(log);
    }

    /// Takes what a remote said.
    pub(crate) fn take_receipt(&mut self, receipt: &Receipt) {
        self.status = receipt.status;
        if !receipt.body.is_empty() {
            self.answer = Some(crate::pattern::cut(&String::from_utf8_lossy(&receipt.body)));
        }
    }
}

/// Reads the detail of an attempt as it was kept.
pub fn read_detail(blob: &[u8]) -> AttemptDetail {
    read(blob).unwrap_or_default()
}

fn write<T: Serialize + ?Sized>(value: &T) -> Bytes {
    let mut blob = vec![VERSION];
    serde_json::to_writer(&mut blob, value).expect("the types here have string keys only, and memory does not fail");
    blob.into()
}

fn read<T: for<'de> Deserialize<'de>>(blob: &[u8]) -> Option<T> {
    match blob {
        [VERSION, json @ ..] => serde_json::from_slice(json).ok(),
        [] | [_, ..] => None,
    }
}
