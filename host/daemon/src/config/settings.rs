//! The daemon's own settings: flags first, then the settings file, then the defaults.
//!
//! Flags stand for `TRAPJAW_*` variables too; the parser of the command line reads those. What else is read of the
//! environment is what the settings file exposes to definitions by name, and it is read here, once.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use trapjaw_connectors::clients::{EgressPolicy, HostPattern, Network};
use trapjaw_engine::time::parse_span;

use super::placeholder::Exposed;
use crate::cli::args::{DevArgs, ServeArgs};

/// Where the API listens unless told otherwise: this machine only.
pub(crate) const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8723);
/// The most that a limit on a number of things may be: the memory of any machine ends before.
const COUNT_MAX: usize = 1_000_000;
/// The most that a limit on bytes may be.
const BYTES_MAX: usize = 1 << 40;
/// The most bytes of the settings file, and of a file that it exposes.
const FILE_BYTES_MAX: u64 = 256 << 10;

/// All that the daemon is told at its start.
pub(crate) struct Settings {
    /// The directory with all durable state.
    pub(crate) data: PathBuf,
    /// Where the API listens.
    pub(crate) listen: SocketAddr,
    /// Which store.
    pub(crate) store: StoreChoice,
    /// The first administrator's token.
    pub(crate) admin_token: Option<String>,
    /// How logs look.
    pub(crate) log_format: LogFormat,
    /// What is logged.
    pub(crate) log_filter: String,
    /// Limits that a person may set.
    pub(crate) limits: Limits,
    /// How long running attempts may take to end once the daemon is told to stop.
    pub(crate) grace: Duration,
    /// Where connections may go at all.
    pub(crate) egress: EgressPolicy,
    /// Values that definitions may name.
    pub(crate) exposed: Exposed,
    /// Whether this is the daemon for trying things out.
    pub(crate) dev: bool,
}

/// Which store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreChoice {
    /// The embedded one, in the data directory.
    Sqlite,
}

/// How logs look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LogFormat {
    /// A JSON object a line.
    #[default]
    Json,
    /// For people.
    Text,
}

/// Limits that a person may set.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(crate) struct Limits {
    /// The most open connections to the API.
    #[serde(deserialize_with = "read_count")]
    pub(crate) connections: usize,
    /// The most bytes of request bodies that are held at one time.
    #[serde(deserialize_with = "read_bytes")]
    pub(crate) body_bytes: usize,
    /// The most live streams of events.
    #[serde(deserialize_with = "read_count")]
    pub(crate) streams: usize,
    /// The most attempts at one time.
    #[serde(deserialize_with = "read_own_count")]
    pub(crate) attempts: Option<usize>,
    /// About the most bytes of open work in memory; the rest stays in the store.
    #[serde(deserialize_with = "read_own_bytes")]
    pub(crate) work_bytes: Option<usize>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 4_096, body_bytes: 256 << 20, streams: 64, attempts: None, work_bytes: None }
    }
}

fn read_count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    read_limit(deserializer, COUNT_MAX)
}

fn read_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    read_limit(deserializer, BYTES_MAX)
}

fn read_own_count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    read_count(deserializer).map(Some)
}

fn read_own_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    read_bytes(deserializer).map(Some)
}

/// Reads a limit. With 0 of anything the daemon would start, and then do nothing.
fn read_limit<'de, D: Deserializer<'de>>(deserializer: D, max: usize) -> Result<usize, D::Error> {
    let limit = usize::deserialize(deserializer)?;
    let is_sound = (1..=max).contains(&limit);
    is_sound.then_some(limit).ok_or_else(|| D::Error::custom(format_args!("1 to {max} is expected, not {limit}")))
}

/// The settings file as it is written. It has no `Debug`, as there may be a token in it.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct File {
    /// The directory with all durable state; it is made when it is missing.
    data: Option<PathBuf>,
    /// Where the API listens: an address of this machine and a port; port 0 takes a free one.
    listen: Option<SocketAddr>,
    /// The store: `sqlite`, which lives in the data directory.
    store: Option<String>,
    /// A token that may do everything, for as long as it is set; with it, no first token is made.
    admin_token: Option<String>,
    /// How long calls, and then attempts, may take to end once the daemon is told to stop.
    grace: Option<String>,
    log: LogFile,
    limits: Limits,
    egress: EgressFile,
    expose: ExposeFile,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct LogFile {
    /// How log lines look.
    format: Option<LogFormat>,
    /// What is logged: a level, or levels by module such as `info,trapjaw_engine=debug`.
    filter: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct EgressFile {
    /// The only hosts that connections may send to: each a host name, or `*.` and one.
    allow: Option<Vec<String>>,
    /// What `allow_private` opens to a connection: every private address with `true`, none with `false`, or only those
    /// of a list of networks such as `10.1.0.0/16`.
    private: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct ExposeFile {
    /// Environment variables that definitions may name.
    env: Vec<String>,
    /// Files that definitions may name, by the name that they use.
    files: BTreeMap<String, PathBuf>,
}

impl Settings {
    /// The settings of `trapjaw serve`.
    pub(crate) fn of_serve(args: ServeArgs) -> anyhow::Result<Self> {
        let file = args.config.as_deref().map(read_file).transpose()?.unwrap_or_default();
        let data = args.data.or(file.data).context("read settings: no data directory; give --data or TRAPJAW_DATA")?;
        let log_format = file.log.format.unwrap_or_default();
        Ok(Self {
            data,
            listen: args.listen.or(file.listen).unwrap_or(LISTEN),
            store: read_store(args.store.or(file.store).as_deref())?,
            admin_token: read_token(args.admin_token.map(|token| token.reveal().to_owned()).or(file.admin_token))?,
            log_format,
            log_filter: args.log.or(file.log.filter).unwrap_or_else(|| "info".into()),
            limits: file.limits,
            grace: read_grace(file.grace.as_deref())?,
            egress: read_egress(file.egress)?,
            exposed: read_exposed(&file.expose)?,
            dev: false,
        })
    }

    /// The settings of `trapjaw dev`.
    pub(crate) fn of_dev(args: DevArgs) -> Self {
        Self {
            data: args.data,
            listen: args.listen.unwrap_or(LISTEN),
            store: StoreChoice::Sqlite,
            admin_token: None,
            log_format: LogFormat::Text,
            log_filter: args.log.unwrap_or_else(|| "info".into()),
            limits: Limits::default(),
            grace: GRACE,
            egress: EgressPolicy::OPEN,
            exposed: Exposed::default(),
            dev: true,
        }
    }
}

/// How long running attempts may take to end, unless told otherwise: longer than a send's own time limit.
const GRACE: Duration = Duration::from_secs(20);
/// The shortest administrator's token that is taken.
const ADMIN_TOKEN_BYTES_MIN: usize = 8;

fn read_file(path: &Path) -> anyhow::Result<File> {
    let text = read_bounded(path)?;
    let deserializer = yaml_serde::Deserializer::from_str(&text);
    serde_path_to_error::deserialize(deserializer)
        .map_err(|err| {
            let (path, message) = (err.path().to_string(), err.inner().to_string());
            // The reader of YAML names the outer part of the same path once more.
            let message =
                message.split_once(": ").filter(|(outer, _)| path.starts_with(outer)).map_or(&*message, |it| it.1);
            anyhow::anyhow!("{path}: {message}")
        })
        .with_context(|| format!("read settings file {}", path.display()))
}

fn read_bounded(path: &Path) -> anyhow::Result<String> {
    let read = || -> anyhow::Result<String> {
        let bytes = std::fs::metadata(path)?.len();
        if bytes > FILE_BYTES_MAX {
            bail!("{bytes} bytes are more than {FILE_BYTES_MAX}");
        }
        Ok(std::fs::read_to_string(path)?)
    };
    read().with_context(|| format!("read file {}", path.display()))
}

fn read_store(store: Option<&str>) -> anyhow::Result<StoreChoice> {
    match store {
        None | Some("sqlite") => Ok(StoreChoice::Sqlite),
        Some(url) if url.starts_with("postgres://") || url.starts_with("postgresql://") => {
            bail!("read settings: store: this version has the store `sqlite` only")
        }
        Some(_) => bail!("read settings: store: `sqlite` is expected"),
    }
}

fn read_token(token: Option<String>) -> anyhow::Result<Option<String>> {
    match token {
        Some(token) if token.len() < ADMIN_TOKEN_BYTES_MIN => {
            bail!("read settings: admin-token: it has fewer than {ADMIN_TOKEN_BYTES_MIN} characters")
        }
        token => Ok(token),
    }
}

fn read_egress(egress: EgressFile) -> anyhow::Result<EgressPolicy> {
    let read = |text: &String| {
        HostPattern::parse(text)
            .with_context(|| format!("read settings: egress.allow: `{text}` is not a host, nor `*.` and a host"))
    };
    let allow = egress.allow.map(|allow| allow.iter().map(read).collect::<anyhow::Result<Vec<_>>>()).transpose()?;
    Ok(EgressPolicy { allow, private: read_private(egress.private)? })
}

/// Reads the networks that `allow_private` opens; `None` for all that there are.
fn read_private(private: Option<Value>) -> anyhow::Result<Option<Vec<Network>>> {
    let read = |item: &Value| {
        item.as_str().and_then(Network::parse).with_context(|| {
            format!("read settings: egress.private: {item} is not a network such as 10.1.0.0/16, nor an address")
        })
    };
    match private {
        None | Some(Value::Bool(true)) => Ok(None),
        Some(Value::Bool(false)) => Ok(Some(Vec::new())),
        Some(Value::Array(items)) => items.iter().map(read).collect::<anyhow::Result<_>>().map(Some),
        Some(_) => bail!("read settings: egress.private: it is neither `true`, `false` nor a list of networks"),
    }
}

fn read_grace(grace: Option<&str>) -> anyhow::Result<Duration> {
    let Some(grace) = grace else { return Ok(GRACE) };
    parse_span(grace).with_context(|| format!("read settings: grace: `{grace}` is not a duration such as 30s"))
}

/// Reads what definitions may name. A variable or file that is missing is an error now rather than at its first use.
fn read_exposed(expose: &ExposeFile) -> anyhow::Result<Exposed> {
    let mut exposed = Exposed::default();
    for name in &expose.env {
        #[expect(clippy::disallowed_methods, reason = "this is the one place where the environment is read")]
        let value = std::env::var(name).with_context(|| format!("read settings: expose.env: variable {name}"))?;
        exposed.env.insert(name.clone(), value);
    }
    for (name, path) in &expose.files {
        let value = read_bounded(path).with_context(|| format!("read settings: expose.files.{name}"))?;
        exposed.files.insert(name.clone(), value.trim_end_matches('\n').to_owned());
    }
    Ok(exposed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(config: Option<PathBuf>) -> ServeArgs {
        ServeArgs { data: None, listen: None, store: None, config, admin_token: None, log: None }
    }

    fn read(yaml: &str, change: impl FnOnce(&mut ServeArgs)) -> Result<Settings, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("settings.yaml");
        std::fs::write(&path, yaml).unwrap();
        let mut args = args(Some(path));
        change(&mut args);
        Settings::of_serve(args).map_err(|err| format!("{err:#}"))
    }

    #[test]
    fn flags_go_before_the_file_and_the_file_before_defaults() {
        let yaml = "data: /var/a\nlisten: 0.0.0.0:1\nlog: {format: text}\ngrace: 5s\nlimits: {streams: 3}";
        let settings = read(yaml, |args| args.data = Some("/var/b".into())).unwrap();
        assert_eq!(settings.data, PathBuf::from("/var/b"));
        assert_eq!(settings.listen, "0.0.0.0:1".parse().unwrap());
        assert_eq!(settings.log_format, LogFormat::Text);
        assert_eq!(settings.grace, Duration::from_secs(5));
        assert_eq!((settings.limits.streams, settings.limits.connections), (3, 4_096));
    }

    #[test]
    fn mistakes_are_named() {
        let check = |yaml: &str, expected: &str| {
            let error = read(yaml, |_| ()).err().unwrap();
            assert!(error.contains(expected), "{error}");
        };
        check("nope: 1", "unknown field `nope`");
        check("data: d\nlimits: {nope: 1}", "limits");
        check("data: d\nlimits: {connections: 0}", "limits.connections: 1 to 1000000 is expected, not 0");
        check("data: d\nlimits: {attempts: 0}", "limits.attempts: 1 to");
        check("data: d\nlimits: {streams: 1000001}", "limits.streams: 1 to");
        check("data: d\nlimits: {connections: 18446744073709551615}", "limits.connections: 1 to");
        check("data: d\nlimits: {body-bytes: 0}", "limits.body-bytes: 1 to");
        check("data: d\nlimits: {work-bytes: 0}", "limits.work-bytes: 1 to");
        check("data: d\nlimits: {work-bytes: -1}", "limits.work-bytes");
        check("listen: 127.0.0.1:0", "no data directory");
        check("data: d\nstore: oracle", "`sqlite` is expected");
        check("data: d\nstore: postgres://x", "`sqlite` only");
        check("data: d\nadmin-token: short", "fewer than 8");
        check("data: d\ngrace: soon", "not a duration");
        check("data: d\negress: {allow: ['*.*.x']}", "egress.allow");
        check("data: d\negress: {private: maybe}", "egress.private");
        check("data: d\negress: {private: [10.1.0.1/16]}", "egress.private: \"10.1.0.1/16\" is not a network");
        check("data: d\nexpose: {env: [TRAPJAW_TEST_VARIABLE_THAT_IS_NOT_SET]}", "TRAPJAW_TEST_VARIABLE");
        check("data: d\nexpose: {files: {a: /nonexistent/x}}", "expose.files.a");
    }

    #[test]
    fn private_networks_are_all_none_or_a_list() {
        let check = |private: &str, expected: Option<&[&str]>| {
            let settings = read(&format!("data: d\negress: {private}"), |_| ()).unwrap();
            let expected = expected.map(|all| all.iter().map(|text| Network::parse(text).unwrap()).collect());
            assert_eq!(settings.egress.private, expected, "{private}");
        };
        check("{}", None);
        check("{private: true}", None);
        check("{private: false}", Some(&[]));
        check("{private: []}", Some(&[]));
        check("{private: [10.1.0.0/16, 'fd00::/8', 192.168.7.7]}", Some(&["10.1.0.0/16", "fd00::/8", "192.168.7.7"]));
    }

    #[test]
    fn what_is_deployed_listens_where_clients_look() {
        let port = format!(":{}", LISTEN.port());
        for text in [
            include_str!("../../../../docs/deploy/Dockerfile"),
            include_str!("../../../../docs/deploy/trapjaw.service"),
            include_str!("../../../../README.md"),
        ] {
            assert!(text.contains(&port) && !text.contains(":8080"), "{text}");
        }
    }

    #[test]
    fn exposed_files_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "s3cret\n").unwrap();
        let settings = read(&format!("data: d\nexpose: {{files: {{crm: {}}}}}", path.display()), |_| ()).unwrap();
        assert_eq!(settings.exposed.files["crm"], "s3cret");
    }
}
