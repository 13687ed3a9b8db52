//! Holds for a GitHub push of at least so many commits, on one branch or on any.

use serde::Deserialize;
use serde::de::IgnoredAny;
use trapjaw_sdk::{Event, Failure, Verdict};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    min_commits: u32,
    /// A branch such as `main`, or a whole ref such as `refs/tags/v1`; any when absent.
    branch: Option<String>,
}

/// What is needed of GitHub's `push` payload.
#[derive(Deserialize)]
struct Push {
    #[serde(rename = "ref")]
    git_ref: String,
    commits: Vec<IgnoredAny>,
}

#[trapjaw_sdk::condition]
fn check(event: &Event, config: Config) -> Result<Verdict, Failure> {
    let push: Push = event.data()?;
    if let Some(wanted) = config.branch.map(full_ref)
        && wanted != push.git_ref
    {
        return Ok(Verdict::no(format!("push to {}, {wanted} wanted", push.git_ref)));
    }
    let n_commits = push.commits.len();
    let noun = if n_commits == 1 { "commit" } else { "commits" };
    let reason = format!("{n_commits} {noun} on {}, {} wanted", push.git_ref, config.min_commits);
    Ok(Verdict::new(n_commits >= config.min_commits as usize, reason))
}

fn full_ref(branch: String) -> String {
    if branch.starts_with("refs/") { branch } else { format!("refs/heads/{branch}") }
}
