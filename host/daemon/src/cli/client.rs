//! One HTTP call to a daemon: no redirects, no proxies, a time limit and a bounded answer.

use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Method, Response, Url};
use serde_json::Value;
use trapjaw_engine::secret::Secret;

use super::args::Globals;
use super::context::Context;
use super::problem::Refusal;
use crate::config::settings::LISTEN;

/// A daemon, and how it knows us.
pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<Secret>,
}

/// What is asked of the daemon.
#[derive(Clone, Debug)]
pub(super) struct Call {
    method: Method,
    /// The path's segments; they are escaped, so that a name cannot become another path.
    path: Vec<String>,
    query: Vec<(&'static str, String)>,
    body: Option<(&'static str, Bytes)>,
    timeout: Duration,
}

/// What the daemon answered.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// The body as it came.
    pub(super) text: String,
}

/// How long a connection may take to be made.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// How long a call may take; the daemon itself gives up sooner.
const CALL_TIME_MAX: Duration = Duration::from_secs(60);
/// How long an upload may take: compiling a large component takes its time.
const UPLOAD_TIME_MAX: Duration = Duration::from_secs(300);
/// The largest answer; a full page of the largest events is less.
const ANSWER_BYTES_MAX: usize = 1 << 30;

impl Call {
    /// A call without a body.
    pub(super) fn new(method: Method, path: &[&str]) -> Self {
        Self {
            method,
            path: path.iter().map(|&segment| segment.to_owned()).collect(),
            query: Vec::new(),
            body: None,
            timeout: CALL_TIME_MAX,
        }
    }

    /// Reads.
    pub(super) fn get(path: &[&str]) -> Self {
        Self::new(Method::GET, path)
    }

    /// Acts.
    pub(super) fn post(path: &[&str]) -> Self {
        Self::new(Method::POST, path)
    }

    /// With a parameter, when there is one.
    pub(super) fn query(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.query.extend(value.map(|value| (name, value.to_string())));
        self
    }

    /// With a JSON body.
    pub(super) fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string().into())
    }

    /// With a body.
    pub(super) fn body(mut self, content_type: &'static str, body: Bytes) -> Self {
        self.body = Some((content_type, body));
        self
    }

    /// With the time that an upload may take.
    pub(super) fn uploading(mut self) -> Self {
        self.timeout = UPLOAD_TIME_MAX;
        self
    }
}

impl Answer {
    /// The body as a value.
    pub(super) fn value(&self) -> anyhow::Result<Value> {
        if self.text.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&self.text).context("read the daemon's answer: is this address a Trapjaw daemon's?")
    }
}

impl Client {
    /// The daemon that the command line, the environment or the context names.
    pub(super) fn of(globals: &Globals) -> anyhow::Result<Self> {
        let path = globals.context.clone().or_else(Context::default_path);
        // A context is a pair: its token is no one else's business, so a URL of another daemon does not get it.
        let context = match path {
            Some(path) if globals.url.is_none() || globals.token.is_none() => Context::read(&path)?,
            Some(_) | None => None,
        };
        let of_context = context.as_ref().map(|context| Url::parse(&context.url).context("read the context's URL"));
        let base = match (&globals.url, of_context) {
            (Some(url), _) => url.clone(),
            (None, Some(url)) => url?,
            (None, None) => Url::parse(&format!("http://{LISTEN}")).context("read the default URL")?,
        };
        let own = context.filter(|context| Url::parse(&context.url).is_ok_and(|url| url.origin() == base.origin()));
        Self::new(base, globals.token.clone().or(own.map(|context| Secret::new(context.token))))
    }

    /// The daemon at an address.
    pub(super) fn new(base: Url, token: Option<Secret>) -> anyhow::Result<Self> {
        if !matches!(base.scheme(), "http" | "https") {
            bail!(super::Usage(format!(
                "the daemon's address has to begin with http:// or https://, not {}:",
                base.scheme()
            )));
        }
        // One that is there already is as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut builder =
            reqwest::Client::builder().no_proxy().redirect(Policy::none()).connect_timeout(CONNECT_TIME_MAX);
        if base.scheme() == "http" {
            // The system's certificates are not needed, and a small container may have none.
            builder = builder.tls_certs_only([]);
        }
        Ok(Self { http: builder.build().context("set up HTTP")?, base, token })
    }

    /// The daemon's address.
    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    /// Makes the call, and reads the whole answer.
    pub(super) async fn call(&self, call: Call) -> anyhow::Result<Answer> {
        let (status, body) = self.ask(call).await?;
        if !status.is_success() {
            bail!(Refusal::read(status, &body));
        }
        let text = String::from_utf8(body).context("read the daemon's answer")?;
        Ok(Answer { text })
    }

    /// Makes a call that may find nothing; none then.
    pub(super) async fn find(&self, call: Call) -> anyhow::Result<Option<Answer>> {
        match self.call(call).await {
            Ok(answer) => Ok(Some(answer)),
            Err(err) if err.downcast_ref::<Refusal>().is_some_and(|refusal| refusal.status == 404) => Ok(None),
            Err(err) => Err(err),
        }
    }

    /// Makes the call, and gives the status with the body whatever it is.
    pub(super) async fn ask(&self, call: Call) -> anyhow::Result<(reqwest::StatusCode, Vec<u8>)> {
        let timeout = call.timeout;
        let mut response = self.start(call, Some(timeout)).await?;
        let status = response.status();
        if status.is_redirection() {
            let place = response.headers().get(LOCATION).and_then(|place| place.to_str().ok()).unwrap_or("elsewhere");
            bail!("reach the daemon: {} sends us to {place}; name the daemon's own address", self.base);
        }
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.context("read the daemon's answer")? {
            if body.len() + part.len() > ANSWER_BYTES_MAX {
                bail!("read the daemon's answer: it has more than {ANSWER_BYTES_MAX} bytes");
            }
            body.extend_from_slice(&part);
        }
        Ok((status, body))
    }

    /// Opens a stream, which lasts until one side ends it.
    pub(super) async fn stream(&self, call: Call) -> anyhow::Result<Response> {
        let response = self.start(call, None).await?;
        let status = response.status();
        if !status.is_success() {
            let body = response.bytes().await.context("read the daemon's answer")?;
            bail!(Refusal::read(status, &body));
        }
        Ok(response)
    }

    async fn start(&self, call: Call, timeout: Option<Duration>) -> anyhow::Result<Response> {
        let mut request = self.http.request(call.method, self.url(&call.path)).query(&call.query);
        if let Some(timeout) = timeout {
            request = request.timeout(timeout).header(ACCEPT, "application/json");
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.reveal());
        }
        if let Some((content_type, body)) = call.body {
            request = request.header(CONTENT_TYPE, content_type).body(body);
        }
        request.send().await.map_err(|err| self.unreached(err))
    }

    fn url(&self, path: &[String]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    fn unreached(&self, err: reqwest::Error) -> anyhow::Error {
        let hint = if err.is_connect() {
            "is it running? `trapjaw dev` starts one, and --url or TRAPJAW_URL names another"
        } else if err.is_timeout() {
            "it took too long"
        } else {
            "the connection broke"
        };
        anyhow::Error::from(err.without_url()).context(format!("reach the daemon at {}: {hint}", self.base))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::args::Format;
    use super::*;

    fn client(base: &str) -> anyhow::Result<Client> {
        Client::new(Url::parse(base).unwrap(), None)
    }

    fn check_url(base: &str, path: &[&str], expected: &str) {
        let path: Vec<String> = path.iter().map(|&segment| segment.into()).collect();
        assert_eq!(client(base).unwrap().url(&path).as_str(), expected);
    }

    #[test]
    fn names_cannot_become_paths() {
        check_url("http://h:1", &["v1", "triggers", "a.b"], "http://h:1/v1/triggers/a.b");
        check_url("http://h:1/", &["v1", "triggers", "../x?y#z"], "http://h:1/v1/triggers/..%2Fx%3Fy%23z");
        check_url("https://h/team/", &["v1"], "https://h/team/v1");
        check_url("https://h/team", &["v1"], "https://h/team/v1");
    }

    #[test]
    fn other_schemes_are_refused() {
        assert!(client("ftp://h/").is_err_and(|err| err.is::<super::super::Usage>()));
    }

    #[test]
    fn a_token_stays_with_its_daemon() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("context.json");
        Context { url: "http://127.0.0.1:9".into(), token: "saved".into() }.write(&path).unwrap();
        let check = |url: Option<&str>, token: Option<&str>, expected: (&str, Option<&str>)| {
            let globals = Globals {
                url: url.map(|url| Url::parse(url).unwrap()),
                token: token.map(Secret::new),
                output: Format::Table,
                context: Some(PathBuf::from(&path)),
                no_color: true,
            };
            let client = Client::of(&globals).unwrap();
            assert_eq!((client.base.as_str(), client.token.as_ref().map(Secret::reveal)), expected);
        };
        check(None, None, ("http://127.0.0.1:9/", Some("saved")));
        check(Some("http://127.0.0.1:9/"), None, ("http://127.0.0.1:9/", Some("saved")));
        check(Some("http://127.0.0.1:8/"), None, ("http://127.0.0.1:8/", None));
        check(Some("https://127.0.0.1:9/"), None, ("https://127.0.0.1:9/", None));
        check(None, Some("own"), ("http://127.0.0.1:9/", Some("own")));
    }

    /// A daemon that answers one call with this.
    fn answering(answer: &'static str) -> (Client, std::thread::JoinHandle<String>) {
        use std::io::{Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}/", listener.local_addr().unwrap());
        let serving = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                let mut part = [0; 1_024];
                let n = stream.read(&mut part).unwrap();
                assert!(n > 0, "the request ended early");
                request.extend_from_slice(&part[..n]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&request).into_owned()
        });
        (client(&base).unwrap(), serving)
    }

    #[tokio::test]
    async fn answers_become_values_or_errors() {
        let call = || Call::get(&["v1", "runs"]).query("state", Some("dead")).query("event", None::<&str>);
        let (client, serving) = answering("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n{\"a\":1}");
        assert_eq!(client.call(call()).await.unwrap().text, "{\"a\":1}");
        assert!(serving.join().unwrap().starts_with("GET /v1/runs?state=dead HTTP/1.1\r\n"));

        let (client, serving) =
            answering("HTTP/1.1 404 Not Found\r\ncontent-length: 24\r\n\r\n{\"detail\":\"there is no\"}");
        assert!(client.find(call()).await.unwrap().is_none());
        serving.join().unwrap();

        let (client, serving) = answering("HTTP/1.1 409 Conflict\r\ncontent-length: 17\r\n\r\n{\"detail\":\"over\"}");
        assert_eq!(client.find(call()).await.unwrap_err().to_string(), "over (409)");
        serving.join().unwrap();

        let (client, serving) = answering("HTTP/1.1 302 Found\r\nlocation: http://x/\r\ncontent-length: 0\r\n\r\n");
        assert!(client.call(call()).await.unwrap_err().to_string().contains("sends us to http://x/"));
        serving.join().unwrap();
    }

    #[tokio::test]
    async fn a_daemon_that_is_not_there_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        let err = client(&base).unwrap().call(Call::get(&["v1", "triggers"])).await.unwrap_err();
        assert!(format!("{err:#}").starts_with(&format!("reach the daemon at {base}: is it running?")), "{err:#}");
    }
}
