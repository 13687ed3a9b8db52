//! The events: recorded GitHub webhooks, or this repository's commits where those could not be fetched.

use std::path::Path;

use anyhow::{Context, bail};
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::process::Command;
use trapjaw_tests::components;

use crate::expect::{Places, expected};

/// What is fed, in a loop.
pub(crate) struct Payloads {
    /// Where it is from, for people.
    pub(crate) origin: String,
    payloads: Vec<Payload>,
}

struct Payload {
    kind: String,
    subject: String,
    data: String,
    places: Places,
}

const COMMITS_MAX: &str = "-n1000";

impl Payloads {
    /// Reads what `payloads.sh` fetched, or else the commits.
    pub(crate) async fn load() -> anyhow::Result<Self> {
        let components = components()?;
        let fetched = components.parent().context("find target folder")?.join("demo/payloads.json");
        let (payloads, origin) = if fetched.is_file() {
            (read(&fetched)?, "recorded GitHub webhooks")
        } else {
            (commits().await?, "commits of this repository (the recorded GitHub webhooks could not be fetched)")
        };
        if payloads.is_empty() {
            bail!("there is nothing to feed: neither recorded webhooks nor commits");
        }
        Ok(Self { origin: format!("{} {origin}", payloads.len()), payloads })
    }

    /// The n-th event as a structured CloudEvent, and where it has to arrive.
    pub(crate) fn event(&self, n: usize, id: &str) -> (Bytes, Places) {
        let Payload { kind, subject, data, places } = &self.payloads[n % self.payloads.len()];
        let event = format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"github","type":"com.github.{kind}","subject":{subject},"data":{data}}}"#
        );
        (event.into(), *places)
    }
}

fn payload(kind: &str, data: &Value) -> Payload {
    let subject = data.pointer("/repository/full_name").and_then(Value::as_str).unwrap_or(kind);
    Payload {
        kind: kind.to_owned(),
        subject: json!(subject).to_string(),
        data: data.to_string(),
        places: expected(kind, data),
    }
}

fn read(file: &Path) -> anyhow::Result<Vec<Payload>> {
    let text = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
    let groups: Value = serde_json::from_slice(&text).with_context(|| format!("read {}", file.display()))?;
    let groups = groups.as_array().map_or(&[][..], Vec::as_slice);
    let examples = groups.iter().flat_map(|group| {
        let kind = group["name"].as_str().unwrap_or("unknown");
        group["examples"].as_array().map_or(&[][..], Vec::as_slice).iter().map(move |example| payload(kind, example))
    });
    Ok(examples.collect())
}

/// Each commit as a push of its own, in the shape that GitHub sends.
async fn commits() -> anyhow::Result<Vec<Payload>> {
    let format = "--format=%H%x1f%cn%x1f%ce%x1f%s";
    let folder = ".";
    let output = Command::new("git").args(["-C", folder, "log", COMMITS_MAX, format]).output().await;
    let output = output.context("run git log")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let commit = |line: &str| {
        let mut parts = line.splitn(4, '\u{1f}').map(str::to_owned);
        let mut next = || parts.next().unwrap_or_default();
        let (id, name, email, message) = (next(), next(), next(), next());
        let commit = json!({"id": id, "message": message, "committer": {"name": name, "email": email}});
        payload("push", &json!({"ref": "refs/heads/main", "deleted": false, "commits": [commit]}))
    };
    Ok(text.lines().map(commit).collect())
}
