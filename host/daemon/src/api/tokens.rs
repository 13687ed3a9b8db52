//! Tokens: made, listed without themselves, removed.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use trapjaw_engine::problem::Problem;
use trapjaw_engine::time::Time;
use utoipa::ToSchema;

use super::App;
use super::auth::Caller;
use super::error::{ApiError, ProblemBody};
use super::events::{PageQuery, read_time};
use super::objects::remove_object;
use super::page::{Items, read_limit, read_query};
use super::path::Path;
use super::view;
use crate::config::check_name;
use crate::desk::ChangeError;
use crate::installation::{Body as Says, Draft, Installation, Kind, Standing};
use crate::pass::{Act, Scope, Token};

/// A token that is to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewToken {
    /// Its name, which the audit shows.
    name: String,
    /// What it is for.
    scopes: Vec<Scope>,
    /// Names, and dotted prefixes of names, that it is limited to; all when empty.
    #[serde(default)]
    prefixes: Vec<String>,
    /// The CloudEvents sources that it may write; all when empty.
    #[serde(default)]
    sources: Vec<String>,
    /// Until when it is good; for good when absent.
    #[serde(default)]
    expires: Option<String>,
}

/// A token, without itself.
#[derive(Serialize, ToSchema)]
pub(crate) struct TokenBody {
    /// Its name.
    name: String,
    /// What it is for.
    scopes: Vec<Scope>,
    /// Names, and dotted prefixes of names, that it is limited to; all when empty.
    prefixes: Vec<String>,
    /// The CloudEvents sources that it may write; all when empty.
    sources: Vec<String>,
    /// Until when it is good.
    expires: Option<String>,
    /// Who made it.
    actor: String,
    /// When.
    at: String,
}

/// A token that was made.
#[derive(Serialize, ToSchema)]
pub(crate) struct MadeToken {
    /// Its name.
    name: String,
    /// The token. It is shown this once.
    token: String,
}

/// The most bytes of a token's definition.
const BODY_BYTES_MAX: usize = 64 << 10;
/// The most prefixes, and the most sources, of a token.
const LIMITS_MAX: usize = 100;

/// List tokens, in order of name.
#[utoipa::path(get, path = "/v1/tokens", tag = "tokens", params(PageQuery), responses((status = 200, body = Items<TokenBody>), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Items<TokenBody>>, ApiError> {
    caller.may(Act::Administer)?;
    let query: PageQuery = read_query(query.as_deref())?;
    let now = app.desk.current();
    Ok(Json(Items::of_names(now.tokens.iter(), read_limit(query.limit)?, query.cursor.as_deref(), body)))
}

/// Make a token. It is shown once.
#[utoipa::path(post, path = "/v1/tokens", tag = "tokens", request_body = NewToken, responses((status = 201, body = MadeToken), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn make(
    State(app): State<Arc<App>>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<MadeToken>), ApiError> {
    caller.may(Act::Administer)?;
    let new: NewToken = app.bodies.json(&headers, body, BODY_BYTES_MAX).await?;
    caller.covers(&new.name)?;
    let expires = read_time("expires", new.expires.as_deref())?;
    check(&new, expires, app.clock.now(), &caller).map_err(ApiError::invalid)?;
    let (token, kept) = Token::make(new.scopes, new.prefixes, new.sources, expires);
    let name = new.name.clone();
    let change = move |now: &Installation| {
        if now.version(Kind::Token, &name) != 0 {
            return Err(ChangeError::Taken(format!("there is a token `{name}`")));
        }
        Ok(vec![Draft { name: name.into(), body: Says::Token(kept) }])
    };
    app.desk.change(caller.name, change).await?;
    Ok((StatusCode::CREATED, Json(MadeToken { name: new.name, token })))
}

/// Remove a token. It is refused from now on.
#[utoipa::path(delete, path = "/v1/tokens/{name}", tag = "tokens", params(("name" = String, Path)), responses((status = 204), (status = "4XX", body = ProblemBody)))]
pub(crate) async fn remove(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    caller.may_on(Act::Administer, &name)?;
    remove_object(&app, caller, Kind::Token, name, &headers).await
}

fn check(new: &NewToken, expires: Option<Time>, now: Time, caller: &Caller) -> Result<(), Vec<Problem>> {
    let mut problems: Vec<Problem> = check_name("name", &new.name).err().into_iter().collect();
    if new.scopes.is_empty() {
        problems.push(Problem::at("scopes", "one at least is expected"));
    }
    for (path, items) in [("prefixes", &new.prefixes), ("sources", &new.sources)] {
        if items.len() > LIMITS_MAX || items.iter().any(|item| item.is_empty()) {
            problems.push(Problem::at(path, format!("at most {LIMITS_MAX} are expected, none of them empty")));
        }
    }
    if expires.is_some_and(|expires| expires <= now) {
        problems.push(Problem::at("expires", "it is over already"));
    }
    // A token that is limited to some names cannot make one that reaches further.
    let reaches = |prefix: &String| caller.token.covers(prefix);
    if !caller.token.prefixes.is_empty() && (new.prefixes.is_empty() || !new.prefixes.iter().all(reaches)) {
        problems.push(Problem::at("prefixes", "they reach further than the token that makes this one"));
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

fn body(name: &Arc<str>, token: &Standing<Arc<Token>>) -> TokenBody {
    TokenBody {
        name: name.to_string(),
        scopes: token.body.scopes.clone(),
        prefixes: token.body.prefixes.clone(),
        sources: token.body.sources.clone(),
        expires: view::show(token.body.expires.map(Time)),
        actor: token.actor.to_string(),
        at: token.at.to_string(),
    }
}
