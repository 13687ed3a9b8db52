//! Who calls, and whether they may.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use trapjaw_engine::time::Time;

use super::App;
use super::error::ApiError;
use crate::desk::ChangeError;
use crate::pass::{self, Act, Token};

/// The address of the other end, as the listener saw it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Who calls: a token that was found good.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// The token's name, which the audit shows.
    pub(crate) name: Arc<str>,
    /// The token.
    pub(crate) token: Arc<Token>,
}

impl Caller {
    /// Refuses the call unless some scope of the token takes in the act.
    pub(crate) fn may(&self, act: Act) -> Result<(), ApiError> {
        if self.token.allows(act) {
            return Ok(());
        }
        let scopes: Vec<&str> = self.token.scopes.iter().map(|scope| scope.word()).collect();
        Err(ApiError::forbidden(format!("the token's scope ({}) does not take this in", scopes.join(", "))))
    }

    /// Refuses the call unless the token takes in the act, on this name.
    pub(crate) fn may_on(&self, act: Act, name: &str) -> Result<(), ApiError> {
        self.may(act)?;
        self.covers(name).map_err(ApiError::from)
    }

    /// Refuses a name that the token is not limited to.
    pub(crate) fn covers(&self, name: &str) -> Result<(), ChangeError> {
        if self.token.covers(name) {
            return Ok(());
        }
        Err(ChangeError::Forbidden(format!("the token is limited to other names than `{name}`")))
    }
}

/// Finds who calls, before anything else of the call is looked at, so that no path can forget to.
pub(crate) async fn authenticate(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let caller = identify(&app, &request)?;
    request.extensions_mut().insert(caller);
    Ok(next.run(request).await)
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        parts.extensions.get::<Self>().cloned().ok_or_else(unauthorized)
    }
}

fn identify(app: &App, request: &Request) -> Result<Caller, ApiError> {
    let shown = request.headers().get(AUTHORIZATION).ok_or_else(unauthorized)?;
    let shown = shown.to_str().ok().and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    let now = app.clock.now();
    let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let address = request.extensions().get::<Peer>().map_or(unknown, |peer| peer.0.ip());
    // Behind a proxy everyone has one address, and bad tokens of one caller must not shut out the good ones of the
    // rest. So only what could be guessed is no longer looked at: a token that a person chose, and chose short.
    let wait = app.failures.wait(address, now);
    if let Some(caller) = shown.and_then(|shown| find(app, shown, now, wait.is_none())) {
        return Ok(caller);
    }
    if let Some(wait) = wait {
        return Err(ApiError::later(StatusCode::TOO_MANY_REQUESTS, "too many bad tokens came from this address", wait));
    }
    app.failures.count(address, now);
    Err(unauthorized())
}

fn find(app: &App, shown: &str, now: Time, may_guess: bool) -> Option<Caller> {
    let is_looked_at = may_guess || shown.len() >= pass::UNGUESSABLE_BYTES_MIN;
    if let Some(token) = app.operator_token.as_ref().filter(|token| is_looked_at && token.admits(shown, now)) {
        return Some(Caller { name: "admin".into(), token: token.clone() });
    }
    let installation = app.desk.current();
    let name = installation.token_names.get(pass::id_of(shown)?)?;
    let token = &installation.tokens.get(name)?.body;
    token.admits(shown, now).then(|| Caller { name: name.clone(), token: token.clone() })
}

fn unauthorized() -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "a valid token is needed, as `Authorization: Bearer …`")
}
