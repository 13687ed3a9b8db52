//! `docs/reference/settings.md`: what the daemon is told at its start, read from the reader of settings itself.

use clap::{Command, CommandFactory};
use trapjaw_engine::engine;
use trapjaw_engine::time::{SPAN_MAX, format_span};

use super::comments::{Comments, Source};
use super::names::{UNKNOWN, known};
use super::page::{Page, bytes, code, number};
use crate::cli::args::{Cli, DevArgs, ServeArgs};
use crate::config::settings::{LogFormat, Settings};

const ABOUT: &str = "What `trapjaw serve` is told at its start. \
    A flag goes before its environment variable, the variable before the settings file, and the file before the default. \
    The settings file is YAML and is named by `--config` or `TRAPJAW_CONFIG`; a dot in a key below stands for nesting, and \
    a key that is not known is an error. \
    Settings are read once: a change needs a restart.";

/// Every section of the file in it, and every kind of value.
const EXAMPLE: &str = "
data: /var/lib/trapjaw
listen: 127.0.0.1:8723
grace: 30s
log: {format: json, filter: info}
limits: {attempts: 128, streams: 16}
egress:
  allow: ['*.example.com', hooks.example.org]
  private: [10.1.0.0/16]
expose:
  env: [PATH]
  files: {hosts: /etc/hosts}
";

/// A key of the settings file.
struct Setting {
    key: &'static str,
    default: String,
    bound: String,
    unit: &'static str,
    /// Values that are taken, and values that are not; YAML.
    good: Vec<String>,
    bad: Vec<String>,
}

#[test]
fn the_settings_are_as_they_were_reviewed() {
    super::review("reference/settings.md", &page());
}

#[test]
fn the_bounds_of_the_settings_hold() {
    for setting in settings() {
        let document = |value: &str| match setting.key.split_once('.') {
            Some((outer, inner)) => format!("{outer}: {{{inner}: {value}}}"),
            None => format!("{}: {value}", setting.key),
        };
        for good in &setting.good {
            assert_eq!(read(&document(good)).err(), None, "{good}");
        }
        for bad in &setting.bad {
            assert!(read(&document(bad)).is_err(), "{}: {bad}", setting.key);
        }
    }
}

fn page() -> String {
    let mut page = Page::new("Settings", ABOUT);
    page.section("All settings");
    let (settings, source) = (settings(), Source::read("src/config/settings.rs"));
    let keys = keys();
    let described: Vec<&str> = settings.iter().map(|setting| setting.key).collect();
    assert_eq!(described, keys, "every key that is read is described, in the order of the file");
    let serve = Cli::command().find_subcommand("serve").unwrap().clone();
    let rows: Vec<[String; 7]> = settings.iter().map(|setting| row(setting, &serve, &source)).collect();
    page.table(["Key", "Flag", "Variable", "Default", "Bound", "Unit", "Meaning"], &rows);
    page.text(&format!(
        "A duration is a sum of `ms`, `s`, `m`, `h` and `d`, such as `30s` or `1h30m`, and at most {}.",
        format_span(SPAN_MAX)
    ));
    page.text("The settings file, and each file that it exposes, has at most 256 KiB.");
    page.section("An example");
    let settings = read(EXAMPLE).unwrap();
    assert!(settings.exposed.files.contains_key("hosts") && settings.limits.attempts == Some(128));
    page.code("yaml", EXAMPLE.trim_start());
    page.section("`trapjaw dev`");
    page.text("The daemon for trying things out reads no settings file and makes a new token at each start.");
    page.table(["Setting", "Value"], &dev());
    page.finish()
}

fn row(setting: &Setting, serve: &Command, source: &Source) -> [String; 7] {
    let (section, name) = setting.key.split_once('.').unwrap_or(("", setting.key));
    let comments: Comments = source.of(match section {
        "" => "File",
        "log" => "LogFile",
        "limits" => "Limits",
        "egress" => "EgressFile",
        "expose" => "ExposeFile",
        other => panic!("no type is known for {other}"),
    });
    let id = if setting.key == "log.filter" { "log".into() } else { setting.key.replace('-', "_") };
    let arg = serve.get_arguments().find(|arg| arg.get_id() == id.as_str());
    let flag = arg.filter(|arg| !arg.is_hide_set()).and_then(|arg| arg.get_long()).map(|long| format!("--{long}"));
    let variable = arg.and_then(|arg| arg.get_env()).map(|name| name.to_string_lossy().into_owned());
    let meaning = format!("{}{}", comments.get(name), values(setting.key, source));
    let [flag, variable] = [flag, variable].map(|name| code(&name.unwrap_or_default()));
    [code(setting.key), flag, variable, setting.default.clone(), setting.bound.clone(), setting.unit.into(), meaning]
}

/// The words that a setting may have, each with its meaning.
fn values(key: &str, source: &Source) -> String {
    if key != "log.format" {
        return String::new();
    }
    let comments = source.of("LogFormat");
    let words = known(&read("log: {format: no-such-name}").err().unwrap());
    words.iter().map(|word| format!(" `{word}`: {}", comments.get(word))).collect()
}

/// Every key that the file may have, as the reader knows them.
fn keys() -> Vec<String> {
    let fields = |section: &str| {
        let nope = format!("{UNKNOWN}: 1");
        known(&read(&if section.is_empty() { nope } else { format!("{section}: {{{nope}}}") }).err().unwrap())
    };
    let with_section = |section: String| match section.as_str() {
        "log" | "limits" | "egress" | "expose" => {
            fields(&section).into_iter().map(|field| format!("{section}.{field}")).collect()
        }
        _ => vec![section],
    };
    fields("").into_iter().flat_map(with_section).collect()
}

fn settings() -> Vec<Setting> {
    let now = read("").unwrap();
    let format = match now.log_format {
        LogFormat::Json => "`json`",
        LogFormat::Text => "`text`",
    };
    let (listen, grace, filter) = (code(&now.listen.to_string()), code(&format_span(now.grace)), code(&now.log_filter));
    assert!(now.egress.allow.is_none() && now.egress.private.is_none() && now.admin_token.is_none());
    assert!(now.exposed.env.is_empty() && now.exposed.files.is_empty());
    const ADDRESSES: (&[&str], &[&str]) = (&["0.0.0.0:0", "'[::1]:80'"], &["localhost:80", "127.0.0.1", "80"]);
    const SPANS: (&[&str], &[&str]) = (&["0s", "1h30m", "3660d"], &["30", "soon", "3661d"]);
    const HOSTS: (&[&str], &[&str]) = (&["[]", "['*.example.com', 10.0.0.1]"], &["['*.*.x']", "['*']", "x"]);
    const NETWORKS: (&[&str], &[&str]) =
        (&["true", "false", "[10.1.0.0/16, 192.168.7.7]"], &["maybe", "[10.1.0.1/16]"]);
    const UNSET: &str = "[TRAPJAW_TEST_VARIABLE_THAT_IS_NOT_SET]";
    let mut settings = vec![
        setting("data", "needed", "", (&["/tmp/x"], &["[]"])),
        setting("listen", &listen, "an IP address and a port", ADDRESSES),
        setting("store", "`sqlite`", "`sqlite`", (&["sqlite"], &["postgres://x", "mysql"])),
        setting("admin-token", "none", "at least 8 characters", (&["'12345678'"], &["'1234567'"])),
        setting("grace", &grace, "a duration", SPANS),
        setting("log.format", format, "", (&["json", "text"], &["xml"])),
        setting("log.filter", &filter, "", (&["debug", "'info,trapjaw_engine=debug'"], &["[]"])),
    ];
    settings.extend(limits(&now));
    settings.extend([
        setting("egress.allow", "any host", "a list of hosts", HOSTS),
        setting("egress.private", "`true`", "`true`, `false`, or a list of networks and addresses", NETWORKS),
        setting("expose.env", "none", "a list of variables that are set", (&["[PATH]"], &[UNSET])),
        setting("expose.files", "none", "names, each with a file", (&["{a: /etc/hosts}"], &["{a: /nonexistent/x}"])),
    ]);
    settings
}

fn setting(key: &'static str, default: &str, bound: &str, (good, bad): (&[&str], &[&str])) -> Setting {
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    Setting { key, default: default.into(), bound: bound.into(), unit: "", good: owned(good), bad: owned(bad) }
}

/// The limits; how far each goes is what the reader says of one that does not go far enough.
fn limits(now: &Settings) -> Vec<Setting> {
    let engine = engine::Settings::new([0; 16]);
    let size = |n_bytes: usize| format!("{} ({})", number(n_bytes), bytes(n_bytes));
    vec![
        limit("limits.connections", number(now.limits.connections), "connections"),
        limit("limits.body-bytes", size(now.limits.body_bytes), "bytes"),
        limit("limits.streams", number(now.limits.streams), "streams"),
        limit("limits.attempts", number(engine.attempts_max), "attempts"),
        limit("limits.work-bytes", size(engine.memory_bytes_max), "bytes"),
    ]
}

fn limit(key: &'static str, default: String, unit: &'static str) -> Setting {
    let complaint = read(&format!("limits: {{{}: 0}}", key.trim_start_matches("limits."))).err().unwrap();
    let (head, _) = complaint.split_once(" is expected").unwrap();
    let (min, max) = head.rsplit_once(": ").unwrap().1.split_once(" to ").unwrap();
    let (min, max): (usize, usize) = (min.parse().unwrap(), max.parse().unwrap());
    Setting {
        key,
        default,
        bound: format!("{} to {}", number(min), number(max)),
        unit,
        good: vec![min.to_string(), max.to_string()],
        bad: vec![(min - 1).to_string(), (max + 1).to_string(), "1.5".into()],
    }
}

fn read(yaml: &str) -> Result<Settings, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("settings.yaml");
    std::fs::write(&path, yaml).unwrap();
    let mut args =
        ServeArgs { data: None, listen: None, store: None, config: Some(path), admin_token: None, log: None };
    if !yaml.contains("data:") {
        args.data = Some("d".into());
    }
    Settings::of_serve(args).map_err(|err| format!("{err:#}"))
}

fn dev() -> Vec<[String; 2]> {
    let dev = Cli::command().find_subcommand("dev").unwrap().clone();
    let default = |id: &str| {
        let arg = dev.get_arguments().find(|arg| arg.get_id() == id).unwrap();
        arg.get_default_values().first().map(|value| value.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let settings = Settings::of_dev(DevArgs { data: default("data").into(), listen: None, log: None });
    assert!(settings.log_format == LogFormat::Text && settings.egress.private.is_none() && settings.dev);
    let row = |name: &str, value: String| [name.to_owned(), value];
    vec![
        row("`--data`, `TRAPJAW_DATA`", code(&settings.data.display().to_string())),
        row("`--listen`, `TRAPJAW_LISTEN`", code(&settings.listen.to_string())),
        row("`--log`, `TRAPJAW_LOG`", code(&settings.log_filter)),
        row("form of the log", "`text`".into()),
        row("private addresses", "every connection may reach them".into()),
        row("`grace`", code(&format_span(settings.grace))),
        row("limits", "the defaults above".into()),
    ]
}
