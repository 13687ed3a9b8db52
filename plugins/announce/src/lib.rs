//! Tells a chat and an audit log about the event, and counts how often it did.

use serde::Deserialize;
use trapjaw_sdk::sinks::{self, Message};
use trapjaw_sdk::{Context, Event, Failure, Value, json, log, state};

const BY: &str = "rust";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Stands before every text.
    #[serde(default = "default_title")]
    title: String,
}

#[trapjaw_sdk::action]
fn announce(event: &Event, config: Config, context: &Context) -> Result<Value, Failure> {
    let about = event.subject.as_deref().unwrap_or(&event.id);
    let text = format!("{}: {} {about}", config.title, event.type_);
    let chat = sinks::send("chat", Message::json(&json!({"text": text, "event": event.id, "by": BY}))?)?;

    let line = json!({
        "event": event.id,
        "source": event.source,
        "type": event.type_,
        "trigger": context.trigger,
        "at_us": event.time_us,
        "by": BY,
    });
    // Its order is kept for each subject, and an event is audited once, whatever its text becomes.
    let message = Message::json(&line)?.key(about).dedup_key(format!("audit:{}", event.id));
    let audit = sinks::send("audit", message)?;

    let announced = state::increment("announced", 1)?;
    log::info(format_args!("announced {} as number {announced}", event.id));
    Ok(json!({"announced": announced, "by": BY, "chat": chat.status, "audit": audit.status}))
}

fn default_title() -> String {
    "Trapjaw".to_owned()
}
