//! The event that the examples of the reference are about.

use serde_json::{Value, json};
use trapjaw_engine::event::Event;
use trapjaw_engine::time::Time;

/// The event as CloudEvents writes it.
pub(super) fn json() -> Value {
    json!({
        "specversion": "1.0", "id": "7", "source": "shop", "type": "order.paid", "subject": "c-1",
        "time": "2026-01-31T12:00:00Z", "tenant": "acme",
        "data": {
            "total": 250, "status": "paid", "email": "Ann@Example.com", "ip": "10.1.2.3", "test": false, "note": null,
            "tags": ["new", "vip"], "lines": [{"sku": "a-1", "n": 2}, {"sku": "b-2", "n": 1}],
        },
    })
}

/// The same as the engine has it.
pub(super) fn event() -> Event {
    let json = json();
    let text = |name: &str| json[name].as_str().unwrap();
    let mut event = Event::new(text("source"), text("type"), text("id"), Time::parse(text("time")).unwrap());
    event.subject = Some(text("subject").into());
    event.extensions.push(("tenant".into(), text("tenant").into()));
    event.data = json["data"].to_string().into();
    event
}
