//! `ledger`: what happened before.

use crate::bindings::ledger::{Activity, Host};
use crate::fault::Stop;
use crate::guest::{Doors, Guest};
use crate::settings::LOOKUPS_MAX;

impl Host for Guest {
    async fn current(&mut self) -> wasmtime::Result<Activity> {
        let Doors { trigger, subject, .. } = &self.doors;
        let (trigger, subject) = (trigger.clone(), subject.clone());
        look_up(&mut self.doors, &trigger, &subject).await
    }

    async fn lookup(&mut self, trigger: String, subject: String) -> wasmtime::Result<Activity> {
        look_up(&mut self.doors, &trigger, &subject).await
    }
}

/// The interface has no error of its own, so a failure ends the call and becomes the call's.
async fn look_up(doors: &mut Doors, trigger: &str, subject: &str) -> wasmtime::Result<Activity> {
    if doors.n_lookups == LOOKUPS_MAX {
        return Err(Stop::Lookups.into());
    }
    doors.n_lookups += 1;
    let activity = doors.past.activity(trigger, subject).await.map_err(Stop::Door)?;
    Ok(Activity { count: activity.count, last_us: activity.last.map(|last| last.as_micros()) })
}
