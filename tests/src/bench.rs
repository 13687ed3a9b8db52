//! One test's own daemon and receiver, with the few calls that every test begins with.
//!
//! For tests only: what goes wrong here is a panic with the daemon's own words.

#![expect(clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::api::{Answer, Api};
use crate::built;
use crate::daemon::Daemon;
use crate::receiver::Receiver;
use crate::wait::wait_until;

/// A daemon on an empty data directory, and a receiver that holds its signing secret.
pub struct Bench {
    /// The daemon.
    pub daemon: Daemon,
    /// Calls to it as its administrator.
    pub api: Api,
    /// Where its webhooks go.
    pub receiver: Receiver,
    /// Its data directory, with a folder `data` in it.
    pub folder: TempDir,
}

/// How long anything that is waited for may take; generous, because tests share a machine.
const WAIT_MAX: Duration = Duration::from_secs(30);

impl Bench {
    /// What its connections sign with.
    pub const SIGNING: &str = "whsec_dGhlLXRlc3RzLW93bi1zaWduaW5nLXNlY3JldA==";

    /// A bench without anything defined.
    pub async fn start() -> Self {
        Self::start_with("").await
    }

    /// A bench whose daemon has a settings file.
    pub async fn start_with(settings: &str) -> Self {
        let folder = good(tempfile::tempdir());
        let path = folder.path().join("settings.yaml");
        let settings = (!settings.is_empty()).then(|| {
            good(std::fs::write(&path, settings));
            path.as_path()
        });
        let receiver = good(Receiver::start(Self::SIGNING).await);
        Self::assemble(folder, settings, receiver).await
    }

    /// A bench on a folder that may have a data directory in it, and a receiver of the caller's own.
    pub async fn start_on(folder: TempDir, receiver: Receiver) -> Self {
        Self::assemble(folder, None, receiver).await
    }

    async fn assemble(folder: TempDir, settings: Option<&Path>, receiver: Receiver) -> Self {
        let daemon = good(Daemon::start(&folder.path().join("data"), settings).await);
        let api = good(daemon.api());
        Self { daemon, api, receiver, folder }
    }

    /// The definition of a connection to a path of the receiver.
    pub fn webhook(&self, path: &str) -> Value {
        json!({"kind": "webhook", "url": self.receiver.url(path), "signing": Self::SIGNING, "allow_private": true})
    }

    /// Makes a connection `name` to the receiver's path `/name`.
    pub async fn connect(&self, name: &str) {
        let definition = self.webhook(&format!("/{name}"));
        good(good(self.api.put(&format!("/v1/connections/{name}"), &definition).await).ok());
    }

    /// Saves a trigger.
    pub async fn trigger(&self, name: &str, definition: Value) {
        good(good(self.api.put(&format!("/v1/triggers/{name}"), &definition).await).ok());
    }

    /// Uploads a component that the build made, and activates it. Gives its digest.
    pub async fn push(&self, plugin: &str, version: &str, component: &str) -> String {
        self.push_bytes(plugin, version, good(built::component(component))).await
    }

    /// Uploads a component, and activates it. Gives its digest.
    pub async fn push_bytes(&self, plugin: &str, version: &str, component: Vec<u8>) -> String {
        let query = format!("?version={version}&activate=true");
        let answer = good(self.api.upload(plugin, &query, component).await);
        assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
        text(&answer.json()["digest"])
    }

    /// Says what a plugin may do.
    pub async fn grant(&self, plugin: &str, grants: Value) {
        good(good(self.api.put(&format!("/v1/plugins/{plugin}/grants"), &grants).await).ok());
    }

    /// Publishes an event of source `tests`, and gives its id with the daemon.
    pub async fn publish(&self, kind: &str, id: &str, data: &Value) -> String {
        let event = json!({"specversion": "1.0", "id": id, "source": "tests", "type": kind, "data": data});
        let answer = good(self.api.publish(event.to_string()).await);
        assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
        text(&answer.json()["ids"][0])
    }

    /// Reads something that is there.
    pub async fn get(&self, path: &str) -> Value {
        good(good(self.api.get(path).await).ok())
    }

    /// Makes a call without a body that works.
    pub async fn post(&self, path: &str) -> Value {
        good(good(self.api.post(path, &json!({})).await).ok())
    }

    /// Waits until the first run of an event is in one of these states, and gives it whole.
    pub async fn run(&self, event: &str, states: &[&str]) -> Value {
        let mut last = Value::Null;
        let waited = wait_until("run", WAIT_MAX, async || {
            let runs = self.get(&format!("/v1/events/{event}/runs")).await;
            let id = runs["items"][0]["id"].as_str()?;
            last = self.get(&format!("/v1/runs/{id}")).await;
            states.contains(&last["state"].as_str()?).then(|| last.clone())
        });
        let waited = waited.await;
        waited.unwrap_or_else(|err| panic!("a run in {states:?} is wanted: {err}: {last:#}"))
    }

    /// Waits until the look finds something.
    pub async fn wait<T>(&self, what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
        good(wait_until(what, WAIT_MAX, look).await)
    }

    /// Waits for so many deliveries on a path of the receiver, all with good signatures.
    pub async fn deliveries(&self, path: &str, n_wanted: usize) -> Vec<crate::receiver::Delivery> {
        let deliveries = good(self.receiver.wait(path, n_wanted, WAIT_MAX).await);
        for delivery in &deliveries {
            assert_eq!(delivery.problem, None, "{path} {}", delivery.id);
        }
        deliveries
    }

    /// A refusal: its status, and the paths of its errors.
    pub fn refusal(answer: &Answer) -> (u16, Vec<String>) {
        let kind = answer.headers.get("content-type").and_then(|kind| kind.to_str().ok());
        assert_eq!(kind, Some("application/problem+json"), "{answer:?}");
        assert_eq!(answer.json()["status"], answer.status, "{answer:?}");
        (answer.status, answer.paths())
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("a text is wanted, not {value}")).to_owned()
}

#[track_caller]
fn good<T, E: std::fmt::Debug>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|err| panic!("{err:?}"))
}
