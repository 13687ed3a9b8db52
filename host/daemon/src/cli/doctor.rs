//! `trapjaw doctor`: what a daemon needs of this machine, and how to mend what is missing.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use super::args::Globals;
use super::client::{Call, Client};
use super::output::{Color, Output};
use super::{Health, table, words};
use crate::config::settings::LISTEN;

/// What is checked.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// The data directory.
    #[arg(long, env = "TRAPJAW_DATA", default_value = "trapjaw-data", value_name = "DIR")]
    data: PathBuf,
    /// Where the daemon is to listen.
    #[arg(long, env = "TRAPJAW_LISTEN", default_value_t = LISTEN, value_name = "ADDR")]
    listen: SocketAddr,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    /// What was checked.
    what: &'static str,
    /// How it stands.
    grade: Grade,
    /// What was found.
    found: String,
    /// How to mend it; empty when there is nothing to mend.
    mend: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grade {
    Good,
    /// It works, and could be better.
    Poor,
    /// A daemon cannot work like this.
    Bad,
}

/// Below this, intake refuses events.
const ROOM_BYTES_MIN: u64 = 1 << 30;
/// Below this, an operator should know soon.
const ROOM_BYTES_GOOD: u64 = 5 << 30;
/// How many syncs are measured.
const SYNCS: u32 = 20;
/// A slower sync bounds single events noticeably; batches still share one.
const SYNC_GOOD: Duration = Duration::from_millis(5);
/// How long the syncs are measured at most.
const SYNC_TIME_MAX: Duration = Duration::from_secs(3);
/// The open files of a busy daemon: its connections in and out, and the store's.
const OPEN_FILES_GOOD: u64 = 8_192;
/// The first kernel with `PAGEMAP_SCAN`, by which used memory of plugins is found and reset cheaply.
const KERNEL_GOOD: (u32, u32) = (6, 7);

/// Checks it all; says `Bad` when a daemon cannot work like this.
pub(super) async fn run(globals: &Globals, args: DoctorArgs, output: &mut Output) -> anyhow::Result<Health> {
    let server = server(globals).await;
    // What runs there already holds the port and the data directory, as it should.
    let is_running = server.as_ref().is_some_and(|finding| finding.grade == Grade::Good);
    let mut findings = vec![data(&args.data)];
    if findings.iter().all(|finding| finding.grade == Grade::Good) {
        findings.extend([room(&args.data), sync(&args.data)]);
    }
    findings.extend([kernel(fs::read_to_string("/proc/sys/kernel/osrelease").ok().as_deref()), open_files()]);
    findings.push(port(args.listen, is_running));
    findings.extend(server);
    let worst = if findings.iter().any(|finding| finding.grade == Grade::Bad) { Health::Bad } else { Health::Good };
    let items: Vec<_> = findings
        .iter()
        .map(|it| json!({"check": it.what, "grade": it.grade.word(), "found": it.found, "mend": it.mend}))
        .collect();
    output.value(&json!({"items": items}), |output| {
        let lines = table::align(
            findings
                .iter()
                .map(|it| vec![it.grade.word().into(), it.what.into(), words::one_line(&it.found)])
                .collect(),
        );
        for (line, finding) in lines.iter().zip(&findings) {
            let line = output.paint(finding.grade.color(), line);
            output.line(&line)?;
            if !finding.mend.is_empty() {
                output.line(&format!("      → {}", finding.mend))?;
            }
        }
        Ok(())
    })?;
    Ok(worst)
}

impl Grade {
    const fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Poor => "poor",
            Self::Bad => "bad",
        }
    }

    const fn color(self) -> Color {
        match self {
            Self::Good => Color::Green,
            Self::Poor => Color::Grey,
            Self::Bad => Color::Red,
        }
    }
}

impl Finding {
    fn good(what: &'static str, found: impl Into<String>) -> Self {
        Self { what, grade: Grade::Good, found: found.into(), mend: String::new() }
    }

    fn of(what: &'static str, grade: Grade, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { what, grade, found: found.into(), mend: mend.into() }
    }
}

/// Whether the data directory can be written, or made. Nothing is left behind.
fn data(path: &Path) -> Finding {
    const WHAT: &str = "data directory";
    if !path.exists() {
        let parent = nearest(path);
        return match tempfile_in(parent) {
            Ok(_) => Finding::good(WHAT, format!("{} is not there yet and can be made", path.display())),
            Err(err) => {
                let mend = format!("make it, or give this user write access to {}", parent.display());
                Finding::of(WHAT, Grade::Bad, format!("{} cannot be made: {err}", path.display()), mend)
            }
        };
    }
    match tempfile_in(path) {
        Ok(_) => Finding::good(WHAT, format!("{} can be written", path.display())),
        Err(err) => {
            let mend = format!("give it to the daemon's user: chown USER {}", path.display());
            Finding::of(WHAT, Grade::Bad, format!("{} cannot be written: {err}", path.display()), mend)
        }
    }
}

/// How much room the disk has.
fn room(path: &Path) -> Finding {
    let room = free_bytes(nearest(path));
    match room {
        Err(err) => {
            Finding::of("disk room", Grade::Bad, format!("cannot be told: {err}"), "name another --data directory")
        }
        Ok(bytes) => grade_room(bytes),
    }
}

fn grade_room(bytes: u64) -> Finding {
    let found = format!("{} free", words::size(bytes));
    let mend = format!("free some, or keep less: below {} no event is taken in", words::size(ROOM_BYTES_MIN));
    match bytes {
        ROOM_BYTES_GOOD.. => Finding::good("disk room", found),
        ROOM_BYTES_MIN.. => Finding::of("disk room", Grade::Poor, found, mend),
        _ => Finding::of("disk room", Grade::Bad, found, mend),
    }
}

/// How long the disk takes to confirm a write.
fn sync(path: &Path) -> Finding {
    match measure_sync(nearest(path)) {
        Err(err) => Finding::of(
            "disk sync",
            Grade::Bad,
            format!("fails: {err}"),
            "use a local disk; a network file system may not confirm writes",
        ),
        Ok(time) => grade_sync(time),
    }
}

fn grade_sync(time: Duration) -> Finding {
    let found = format!("{:.2} ms each", time.as_secs_f64() * 1_000.0);
    if time <= SYNC_GOOD {
        return Finding::good("disk sync", found);
    }
    Finding::of("disk sync", Grade::Poor, found, "use a faster disk; until then publish in batches, which share a sync")
}

/// The median of some syncs.
fn measure_sync(directory: &Path) -> io::Result<Duration> {
    let probe = tempfile_in(directory)?;
    let mut file = &probe.file;
    let (begun, mut times) = (Instant::now(), Vec::new());
    while times.len() < SYNCS as usize && begun.elapsed() < SYNC_TIME_MAX {
        let start = Instant::now();
        file.write_all(&[0; 4_096])?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    times.sort();
    Ok(times[times.len() / 2])
}

/// What the kernel can do for plugins.
fn kernel(release: Option<&str>) -> Finding {
    let read = |release: &str| {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    };
    let mend = "use Linux 6.7 or newer: each call of a plugin is cheaper with PAGEMAP_SCAN";
    match release.map(str::trim).and_then(|release| Some((release, read(release)?))) {
        Some((release, version)) if version >= KERNEL_GOOD => {
            Finding::good("kernel", format!("{release} has PAGEMAP_SCAN"))
        }
        Some((release, _)) => Finding::of("kernel", Grade::Poor, format!("{release} lacks PAGEMAP_SCAN"), mend),
        None => Finding::of("kernel", Grade::Poor, "the version cannot be told", mend),
    }
}

/// How many files the daemon may have open.
fn open_files() -> Finding {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    grade_open_files(&limits)
}

fn grade_open_files(limits: &str) -> Finding {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next());
    let number = soft.map(|soft| if soft == "unlimited" { u64::MAX } else { soft.parse().unwrap_or(0) });
    let mend = format!("raise it: `ulimit -n {OPEN_FILES_GOOD}`, or LimitNOFILE={OPEN_FILES_GOOD} in the systemd unit");
    match (number, soft) {
        (Some(OPEN_FILES_GOOD..), Some(soft)) => Finding::good("open files", format!("{soft} allowed")),
        (Some(_), Some(soft)) => Finding::of("open files", Grade::Poor, format!("{soft} allowed"), mend),
        (None, _) | (_, None) => Finding::of("open files", Grade::Poor, "the limit cannot be told", mend),
    }
}

/// Whether the port is free, or taken by the daemon that is asked about.
fn port(listen: SocketAddr, is_running: bool) -> Finding {
    match TcpListener::bind(listen) {
        Ok(_) => Finding::good("port", format!("{listen} is free")),
        Err(err) if err.kind() == io::ErrorKind::AddrInUse && is_running => {
            Finding::good("port", format!("{listen} is in use, and a daemon runs"))
        }
        Err(err) => Finding::of(
            "port",
            Grade::Bad,
            format!("{listen}: {err}"),
            "stop what listens there (`ss -ltnp` names it), or choose another --listen",
        ),
    }
}

/// Whether the daemon is ready, if one is there.
async fn server(globals: &Globals) -> Option<Finding> {
    let client = Client::of(globals).ok()?;
    let (status, body) = client.ask(Call::get(&["readyz"])).await.ok()?;
    if status.is_success() {
        return Some(Finding::good("daemon", format!("{} is ready", client.base())));
    }
    let refusal = super::problem::Refusal::read(status, &body);
    Some(Finding::of(
        "daemon",
        Grade::Bad,
        format!("{} is not ready: {}", client.base(), refusal.message),
        "read its log; `trapjaw status` says more",
    ))
}

/// The nearest directory that exists.
fn nearest(path: &Path) -> &Path {
    let here = Path::new(".");
    path.ancestors().find(|path| path.is_dir()).filter(|path| !path.as_os_str().is_empty()).unwrap_or(here)
}

fn free_bytes(directory: &Path) -> io::Result<u64> {
    let room = rustix::fs::statvfs(directory)?;
    Ok(room.f_bavail.saturating_mul(room.f_frsize))
}

/// A file that is gone when it is dropped.
struct Probe {
    file: File,
    path: PathBuf,
}

impl Drop for Probe {
    fn drop(&mut self) {
        // It may be gone already; nothing else can be done about one that stays.
        let _ = fs::remove_file(&self.path);
    }
}

fn tempfile_in(directory: &Path) -> io::Result<Probe> {
    let path = directory.join(format!(".trapjaw-doctor-{}", std::process::id()));
    let file = File::options().write(true).create_new(true).open(&path)?;
    Ok(Probe { file, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_graded() {
        let check = |finding: Finding, grade: Grade, found: &str| {
            assert_eq!((finding.grade, finding.found.as_str()), (grade, found));
            assert_eq!(finding.mend.is_empty(), grade == Grade::Good);
        };
        check(kernel(Some("6.18.44-x\n")), Grade::Good, "6.18.44-x has PAGEMAP_SCAN");
        check(kernel(Some("6.1.0-18-amd64")), Grade::Poor, "6.1.0-18-amd64 lacks PAGEMAP_SCAN");
        check(kernel(Some("7.0")), Grade::Good, "7.0 has PAGEMAP_SCAN");
        check(kernel(None), Grade::Poor, "the version cannot be told");
        check(grade_room(10 << 30), Grade::Good, "10.0 GiB free");
        check(grade_room(2 << 30), Grade::Poor, "2.0 GiB free");
        check(grade_room(1 << 20), Grade::Bad, "1.0 MiB free");
        check(grade_sync(Duration::from_micros(100)), Grade::Good, "0.10 ms each");
        check(grade_sync(Duration::from_millis(20)), Grade::Poor, "20.00 ms each");
        check(grade_open_files("Max open files  1024  4096  files"), Grade::Poor, "1024 allowed");
        check(
            grade_open_files("Max cpu time x\nMax open files  unlimited  unlimited  files"),
            Grade::Good,
            "unlimited allowed",
        );
        check(grade_open_files(""), Grade::Poor, "the limit cannot be told");
    }

    #[test]
    fn directories_are_tried_and_left_clean() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(data(dir.path()).grade, Grade::Good);
        assert_eq!(data(&dir.path().join("a/b")).grade, Grade::Good);
        assert!(measure_sync(dir.path()).unwrap() < SYNC_TIME_MAX);
        assert!(free_bytes(dir.path()).unwrap() > 0);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(data(Path::new("/proc/trapjaw")).grade, Grade::Bad);
    }

    #[test]
    fn a_port_in_use_is_bad_unless_the_daemon_has_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = listener.local_addr().unwrap();
        assert_eq!(port(listen, false).grade, Grade::Bad);
        assert_eq!(port(listen, true).grade, Grade::Good);
    }
}
