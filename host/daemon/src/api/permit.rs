//! Whether a caller may make a change: one rule for every way to make it, object by object or as a document.
//!
//! A token that is limited to some names may change those, and its changes may name only those: a trigger of its own
//! that sent on another team's connection would act with that team's credentials, and a connection of its own that
//! named another team's secret would hand it over. A name without a dot is no exception. What an unlimited token set
//! up stays as it is, and a limited one may still switch it.

use serde_json::Value;
use trapjaw_engine::definition::Grants;

use super::auth::Caller;
use crate::config::document::File;
use crate::config::placeholder::names_in;
use crate::config::resolve::plugins_of;
use crate::desk::ChangeError;
use crate::installation::{Body as Says, Draft, Installation, Kind, read_connection};
use crate::pass::Act;

/// What a caller wants with changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    /// To make them.
    Make,
    /// To see what they would come to.
    Rehearse,
}

/// Refuses changes unless the caller may make them: by its scopes, and on every name that they are about or make use
/// of.
pub(crate) fn permit(caller: &Caller, drafts: &[Draft], now: &Installation, intent: Intent) -> Result<(), ChangeError> {
    for draft in drafts {
        caller.covers(&draft.name)?;
        let kind = draft.body.kind();
        if !caller.token.allows(act_of(draft, now, intent)) {
            return Err(lacks_scope(kind, &draft.name));
        }
        covers_uses(caller, &draft.body)?;
    }
    Ok(())
}

/// Refuses a document before it is read in the light of what there is: what is wrong with it may tell of that. Nor may
/// its secrets be made of values of the environment, or of files, that the token does not cover; they are filled in as
/// the document is read, so that its drafts no longer tell.
pub(crate) fn permit_document(caller: &Caller, file: &File) -> Result<(), ChangeError> {
    for (kind, name) in file.names() {
        caller.covers(&name)?;
        if matches!(kind, Kind::Connection | Kind::Secret) && !caller.token.allows(Act::Operate) {
            return Err(lacks_scope(kind, &name));
        }
    }
    file.secrets.values().try_for_each(|value| covers_placeholders(caller, value))
}

fn lacks_scope(kind: Kind, name: &str) -> ChangeError {
    ChangeError::Forbidden(format!("the token's scopes do not take in this change of {} `{name}`", kind.word()))
}

/// What a change takes. To rehearse one with credentials takes as much as to make it: what comes of it would tell
/// whether a guess of them is right.
fn act_of(draft: &Draft, now: &Installation, intent: Intent) -> Act {
    match (draft.body.kind(), intent) {
        (Kind::Token, _) => Act::Administer,
        (Kind::Connection | Kind::Secret, Intent::Make) => Act::Operate,
        (Kind::Connection | Kind::Secret, Intent::Rehearse) if !matches!(draft.body, Says::Removed(_)) => Act::Operate,
        (_, Intent::Rehearse) => Act::Read,
        (Kind::Trigger, Intent::Make) => Act::Define,
        (Kind::Plugin, Intent::Make) if grants(draft) == Some(grants_now(draft, now)) => Act::Define,
        (Kind::Plugin, Intent::Make) => Act::Operate,
    }
}

fn grants(draft: &Draft) -> Option<Grants> {
    match &draft.body {
        Says::Plugin(standing) => Some(standing.grants.clone()),
        Says::Trigger(_) | Says::Connection(_) | Says::Secret(_) | Says::Token(_) | Says::Removed(_) => None,
    }
}

fn grants_now(draft: &Draft, now: &Installation) -> Grants {
    now.plugins.get(&draft.name).map(|standing| standing.body.grants.clone()).unwrap_or_default()
}

fn covers_uses(caller: &Caller, body: &Says) -> Result<(), ChangeError> {
    match body {
        Says::Trigger(trigger) => {
            for action in &trigger.r#do {
                action.send.iter().chain(action.connections.values()).try_for_each(|name| caller.covers(name))?;
            }
            plugins_of(trigger).into_iter().try_for_each(|(name, _)| caller.covers(name))
        }
        Says::Connection(map) => {
            // One that cannot be read names nothing, and is refused for it.
            let Ok(connection) = read_connection(map) else { return Ok(()) };
            connection.secrets.iter().try_for_each(|name| caller.covers(name))?;
            connection.config.values().try_for_each(|value| covers_placeholders(caller, value))
        }
        Says::Plugin(standing) => {
            let grants = &standing.grants;
            grants.connections.iter().chain(&grants.secrets).try_for_each(|name| caller.covers(name))
        }
        Says::Secret(_) | Says::Token(_) | Says::Removed(_) => Ok(()),
    }
}

fn covers_placeholders(caller: &Caller, value: &Value) -> Result<(), ChangeError> {
    names_in(value).into_iter().try_for_each(|name| caller.covers(name))
}
