"""The condition `big-push` in Python: holds for a GitHub push of at least so many commits."""

import json
from typing import Any, Optional, Tuple

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.condition import Verdict
from wit_world.imports.types import Context, Event, Failure, FailureKind

U32_MAX = 2**32 - 1
FIELDS = ("min_commits", "branch")


class Condition(exports.Condition):
    def evaluate(self, event: Event, config: str, context: Context) -> Verdict:
        min_commits, wanted = read_config(config)
        git_ref, n_commits = read_push(event.data)
        if wanted is not None and wanted != git_ref:
            return Verdict(False, f"push to {git_ref}, {wanted} wanted")
        noun = "commit" if n_commits == 1 else "commits"
        reason = f"{n_commits} {noun} on {git_ref}, {min_commits} wanted"
        return Verdict(n_commits >= min_commits, reason)


def read_config(text: str) -> Tuple[int, Optional[str]]:
    config = read_object("read config", text)
    for name in config:
        if name not in FIELDS:
            raise rejected(f"read config: {name}: unknown field")
    min_commits = config.get("min_commits")
    # A bool is an int in Python.
    if type(min_commits) is not int or not 0 <= min_commits <= U32_MAX:
        raise rejected("read config: min_commits: not a whole number of 32 bits")
    branch = config.get("branch")
    if branch is None:
        return min_commits, None
    if not is_text(branch):
        raise rejected("read config: branch: not a string")
    return min_commits, branch if branch.startswith("refs/") else f"refs/heads/{branch}"


def read_push(data: bytes) -> Tuple[str, int]:
    push = read_object("read event data", data)
    git_ref, commits = push.get("ref"), push.get("commits")
    if not is_text(git_ref):
        raise rejected("read event data: ref: not a string")
    if not isinstance(commits, list):
        raise rejected("read event data: commits: not a list")
    return git_ref, len(commits)


def read_object(doing: str, text: Any) -> dict:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as err:
        raise rejected(f"{doing}: {err}") from err
    if not isinstance(value, dict):
        raise rejected(f"{doing}: not an object")
    return value


def is_text(value: Any) -> bool:
    """Half of a surrogate pair is a string in Python, but no text that can leave it."""
    return isinstance(value, str) and value.encode(errors="ignore").decode() == value


def rejected(message: str) -> Err:
    """What the host gets as a failure; any other exception is a trap."""
    return Err(Failure(FailureKind.REJECTED, message, None))
