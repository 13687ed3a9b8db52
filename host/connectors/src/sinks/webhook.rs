//! The webhook sink: one HTTP request for each message, signed and guarded.

mod answer;
mod body;
mod build;
mod config;
mod oauth;
mod request;
mod sign;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use schemars::schema_for;
use serde_json::Value;
use trapjaw_engine::ports::{Clock, Message, Receipt, Refusal, SendError, Sink};

use self::config::{File, With, check_options};
use self::oauth::{Token, Tokens, unsent};
use self::request::Template;
use crate::clients::HttpClient;
use crate::sinks::SinkType;
use crate::sinks::config::read;

/// The row of the table of sinks.
pub(super) const TYPE: SinkType = SinkType {
    name: "webhook",
    description: "Sends each message as an HTTP request, signed after Standard Webhooks.",
    endings: ENDINGS,
    identity: "Every try of a send carries the same `webhook-id`, and the same body; `trapjaw-attempt` counts the tries, \
        and `webhook-timestamp` is the time of this one. The message's `key` is not sent.",
    config_schema: || schema_for!(File),
    options_schema: || schema_for!(With),
    new: |config, ctx| build::webhook(config, ctx).map(|webhook| Arc::new(webhook) as Arc<dyn Sink>),
    check_options,
};

/// What the reference says of answers; `answer` holds the rules and their tests.
const ENDINGS: &[(&str, Option<Refusal>)] = &[
    ("an answer with a status from 200 to 299, even where its body hangs or breaks off", None),
    ("status 408, 425, 429, or 500 to 599; `Retry-After` is honoured, up to an hour", RETRY),
    ("no answer: the name is not found, the connection or TLS fails, the time is up", RETRY),
    ("a name that leads to an address that the guard refuses", RETRY),
    ("status 401 with an OAuth 2.0 token that was kept from earlier: the next try gets a new one", RETRY),
    ("status 401 or 403 otherwise, or a token endpoint that refuses", Some(Refusal::Unauthorized)),
    ("any other status; redirects are not followed", Some(Refusal::Permanent)),
    ("a message that cannot be sent as it is", Some(Refusal::Permanent)),
];
const RETRY: Option<Refusal> = Some(Refusal::Retry(None));

/// A webhook connection.
pub(super) struct Webhook {
    http: Arc<HttpClient>,
    clock: Arc<dyn Clock>,
    template: Template,
    /// Scheme, host and port: all of the URL that messages for people show, because the rest may hold secrets.
    origin: String,
    tokens: Option<Tokens>,
}

#[async_trait]
impl Sink for Webhook {
    async fn send(&self, message: &Message) -> Result<Receipt, SendError> {
        let with = self.read_options(message)?;
        let token = match &self.tokens {
            Some(tokens) => Some(tokens.get().await?),
            None => None,
        };
        let header = token.as_ref().map(|token| &token.header);
        let request = self.template.request(message, with.as_ref(), header, self.clock.now()).map_err(permanent)?;
        let response = self.http.send(request).await.map_err(|err| unsent(&self.origin, &err))?;
        let result = answer::take(response, &self.origin, self.clock.now()).await;
        match (result, token) {
            (Err(err), Some(token)) => Err(self.doubt_token(err, &token)),
            (result, _) => result,
        }
    }

    /// Opens a connection, which takes a look-up, the guard and TLS, and with OAuth 2.0 gets a token. It makes no
    /// request to the target, where any request might have an effect: fixed credentials are not proved by it.
    async fn probe(&self) -> Result<(), SendError> {
        let probing = self.http.probe(self.template.uri.clone());
        probing.await.map_err(|err| unsent(&self.origin, &err))?;
        if let Some(tokens) = &self.tokens {
            tokens.fetch().await?;
        }
        Ok(())
    }
}

impl Webhook {
    /// Reads the trigger's options and checks them against what the operator fixed.
    fn read_options(&self, message: &Message) -> Result<Option<With>, SendError> {
        if message.options.is_empty() {
            return Ok(None);
        }
        let (with, mut problems) = read::<With>(&Value::Object(message.options.clone()));
        problems.extend(self.template.fixed.conflicts(&with));
        if problems.is_empty() {
            return Ok(Some(with));
        }
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        Err(permanent(format!("with: {}", problems.join("; "))))
    }

    /// A remote may end a token before its time. Only one that was got for this very send proves that our credentials
    /// are refused; with a kept one, the next try gets a new one.
    fn doubt_token(&self, mut err: SendError, token: &Token) -> SendError {
        if let (Refusal::Unauthorized, Some(tokens)) = (err.refusal, &self.tokens) {
            tokens.forget(token);
            if !token.is_new && err.status == Some(401) {
                err.refusal = Refusal::Retry(None);
            }
        }
        err
    }
}

fn permanent(message: String) -> SendError {
    SendError { refusal: Refusal::Permanent, message, status: None, answer: Bytes::new() }
}
