//! Calls to the API, as any user would make them: one address, one token, no redirects.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;

/// The longest that a call may take; a test would rather fail than hang.
const CALL_MAX: Duration = Duration::from_secs(60);
const STRUCTURED: &str = "application/cloudevents+json";

/// A caller. Clones share its connections and follow the daemon to its next address.
#[derive(Clone, Debug)]
pub struct Api {
    client: Client,
    address: Arc<RwLock<String>>,
    token: Option<Arc<str>>,
}

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Api {
    pub(crate) fn new(address: Arc<RwLock<String>>, token: Option<&str>) -> anyhow::Result<Self> {
        // An error means that another caller of this process did it already.
        let _installed = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = Client::builder().no_proxy().redirect(Policy::none()).timeout(CALL_MAX).build()?;
        Ok(Self { client, address, token: token.map(Into::into) })
    }

    /// The same daemon with another token, or with none.
    pub fn with_token(&self, token: Option<&str>) -> Self {
        Self { token: token.map(Into::into), ..self.clone() }
    }

    /// A call that is built by hand.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let address = self.address.read().map(|address| address.clone()).unwrap_or_default();
        let request = self.client.request(method, format!("{address}{path}"));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Makes a call.
    pub async fn send(&self, request: RequestBuilder) -> anyhow::Result<Answer> {
        let response = request.send().await.context("call the daemon")?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.context("read the daemon's answer")?;
        Ok(Answer { status, headers, body })
    }

    /// GET.
    pub async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.send(self.request(Method::GET, path)).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> anyhow::Result<Answer> {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// PUT of JSON.
    pub async fn put(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        self.send(self.request(Method::PUT, path).json(body)).await
    }

    /// POST of JSON.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// POST of any bytes.
    pub async fn post_bytes(
        &self,
        path: &str,
        content_type: &str,
        body: impl Into<reqwest::Body>,
    ) -> anyhow::Result<Answer> {
        let request = self.request(Method::POST, path).header("content-type", content_type);
        self.send(request.body(body.into())).await
    }

    /// Publishes one structured CloudEvent, given as its text.
    pub async fn publish(&self, event: impl Into<reqwest::Body>) -> anyhow::Result<Answer> {
        self.post_bytes("/v1/events", STRUCTURED, event).await
    }

    /// Uploads a component.
    pub async fn upload(&self, plugin: &str, query: &str, component: Vec<u8>) -> anyhow::Result<Answer> {
        self.post_bytes(&format!("/v1/plugins/{plugin}/versions{query}"), "application/wasm", component).await
    }

    /// Every row of a listing, page by page.
    pub async fn all(&self, path: &str) -> anyhow::Result<Vec<Value>> {
        let mut rows = Vec::new();
        let mut cursor = String::new();
        let joint = if path.contains('?') { '&' } else { '?' };
        loop {
            let mut page = self.get(&format!("{path}{joint}limit=1000{cursor}")).await?.ok()?;
            let items = page["items"].take();
            let Value::Array(items) = items else { bail!("{path} gives no items") };
            rows.extend(items);
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(rows),
            }
        }
    }
}

impl Answer {
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The body as JSON of a call that worked.
    pub fn ok(self) -> anyhow::Result<Value> {
        if !(200..300).contains(&self.status) {
            bail!("the daemon answered {}: {}", self.status, String::from_utf8_lossy(&self.body));
        }
        Ok(self.json())
    }

    /// The paths of a problem's errors.
    pub fn paths(&self) -> Vec<String> {
        let body = self.json();
        let errors = body["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|error| error["path"].as_str().unwrap_or_default().to_owned()).collect()
    }
}
