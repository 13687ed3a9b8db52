//! From an event to its run and its end.

use serde_json::{Value, json};
use trapjaw_engine::event::Event;
use trapjaw_engine::record::RunState;

use crate::support::{START, World};

/// The runs that one event of this subject makes under this trigger, and what was sent.
async fn check(trigger: Value, expected: &[RunState], n_sent: usize) {
    let mut world = World::new();
    world.trigger("t", trigger.clone());
    world.start().await;
    world.happen("ann").await;
    world.finish().await;
    assert_eq!((world.states().as_slice(), world.sent("crm").len()), (expected, n_sent), "{trigger}");
}

#[tokio::test(start_paused = true)]
async fn an_event_runs_its_action() {
    check(json!({"do": [{"send": "crm"}]}), &[RunState::Succeeded], 1).await;
    check(json!({"on": {"type": ["other"]}, "do": [{"send": "crm"}]}), &[], 0).await;
    check(json!({"state": "disabled", "do": [{"send": "crm"}]}), &[], 0).await;
    check(json!({"do": [{"send": "crm"}, {"send": "crm", "name": "b"}]}), &[RunState::Succeeded], 2).await;
}

#[tokio::test(start_paused = true)]
async fn subjects_fan_out() {
    let each = |subject: Value| json!({"subject": subject, "do": [{"send": "crm", "body": "{{ subject }}"}]});
    check(each(json!(["a", "b", "{{ event.subject }}"])), &[RunState::Succeeded; 3], 3).await;
    check(each(json!("{{ event.subject }}!")), &[RunState::Succeeded], 1).await;
}

#[tokio::test(start_paused = true)]
async fn the_message_is_what_the_template_says() {
    let mut world = World::new();
    world.trigger("t", json!({"do": [{"send": "crm", "body": "{{ event.data.n }} of {{ subject }}"}]}));
    world.start().await;
    world.happen("ann").await;
    world.finish().await;
    let sent = &world.sent("crm")[0];
    assert_eq!((sent.text.as_str(), sent.message.attempt), ("1 of ann", 1));
}

#[tokio::test(start_paused = true)]
async fn an_event_is_taken_once() {
    let mut world = World::sending(json!({}));
    world.start().await;
    let again = |id: &str, source: &str| Event::new(source, "order", id, START);
    let accepted = world.accept(vec![again("1", "a"), again("1", "a"), again("1", "b")]).await.unwrap();
    assert_eq!((accepted.accepted, accepted.duplicates), (2, 1));
    assert_eq!(accepted.ids[0], accepted.ids[1]);
    world.start().await;
    let accepted = world.accept(vec![again("1", "b")]).await.unwrap();
    assert_eq!((accepted.accepted, accepted.duplicates), (0, 1));
    world.finish().await;
    assert_eq!(world.states(), [RunState::Succeeded; 2]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_not_taken() {
    let mut world = World::sending(json!({}));
    world.start().await;
    let bad = Event::new("", "order", "1", world.now());
    assert!(world.accept(vec![bad]).await.is_err());
    assert!(world.accept(Vec::new()).await.is_err());
    assert_eq!(world.store.all_events().len(), 0);
}
