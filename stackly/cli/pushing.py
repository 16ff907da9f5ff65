"""A directory becomes a commit of a repository in the local hub, as a person's `git push` would make it."""

import base64
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from stackly.cli.command import Invocation
from stackly.cli.exits import CommandFailed, Exit
from stackly.cli.speech import without_credential

_WHO = "Stackly"
_NOT_PUSHED = shutil.ignore_patterns(".git", ".terraform", "__pycache__", "*.tfstate", "*.tfstate.*")
Change = Callable[[Path], None]


def ensure_repository(call: Invocation, full_name: str) -> str:
    """The repository, made in the hub and connected if it is not.

    Shape: its clone URL, with what pushes. Raises: CommandFailed.
    """
    import httpx  # late: it costs more than many a command

    hub = call.place.endpoint("hub_url")
    owner, _, name = full_name.partition("/")
    try:
        with httpx.Client(base_url=hub, timeout=20, trust_env=False, headers=_signed(call)) as http:
            found = http.get(f"/repos/{full_name}")
            if found.status_code == httpx.codes.NOT_FOUND:
                made = http.post(f"/orgs/{owner}/repos", json={"name": name, "default_branch": "main"})
                # 422: somebody else made it at this moment.
                if made.status_code != httpx.codes.UNPROCESSABLE_ENTITY:
                    made.raise_for_status()
                found = http.get(f"/repos/{full_name}")
            found.raise_for_status()
    except httpx.HTTPStatusError as e:
        raise CommandFailed(Exit.INTERNAL, "The hub refused.", f"{e.request.url}: {e.response.text[:300]}") from e
    except httpx.TransportError as e:
        said = f"{hub} does not answer ({e}); run: stackly up"
        raise CommandFailed(Exit.UNREACHABLE, "The hub is not reachable.", said) from e
    connected = call.server.find(f"/repos/{full_name}", patience_s=10)
    if connected is None or not connected["hook_id"]:
        connected = call.server.post("/repos", {"url": found.json()["clone_url"]}, patience_s=10)
        call.say.note(f"repository {full_name} made and connected")
    return str(connected["clone_url"])


def _signed(call: Invocation) -> dict[str, str]:
    token = call.place.hub_token()
    return {"Authorization": f"Bearer {token}"} if token else {}


def head_of(clone_url: str, branch: str) -> str | None:
    """The branch's commit; None when there is no such branch."""
    said = _git(None, "ls-remote", without_credential(clone_url), f"refs/heads/{branch}", remote=clone_url)
    return said.split()[0] if said.strip() else None


def push(clone_url: str, source: Path, *, branch: str, message: str, change: Change | None = None) -> str:
    """Make the branch's tree equal to `source`, changed by `change`, on top of main. Shape: the commit.

    Nothing is pushed when the branch stands there already. Raises: CommandFailed with git's own words.
    """
    with tempfile.TemporaryDirectory(prefix="stackly-") as place:
        tree = Path(place) / "tree"
        tree.mkdir()
        _git(tree, "init", "-q", "--template=", "--initial-branch=work", ".")
        base = _fetched(tree, clone_url, "main")
        if base:
            # Only the position: the files are the source's.
            _git(tree, "reset", "-q", "--soft", base)
        shutil.copytree(source, tree, dirs_exist_ok=True, ignore=_NOT_PUSHED)
        if change is not None:
            change(tree)
        _git(tree, "add", "-A", ".")
        there = _standing(tree, _fetched(tree, clone_url, branch), None if branch == "main" else base)
        if there:
            return there
        _git(tree, "commit", "-q", "--allow-empty", "-m", message)
        # A side branch starts anew from main each time; main itself only grows.
        force = [] if branch == "main" else ["--force"]
        _git(tree, "push", "-q", *force, without_credential(clone_url), f"HEAD:refs/heads/{branch}", remote=clone_url)
        return _git(tree, "rev-parse", "HEAD").strip()


def _fetched(tree: Path, clone_url: str, branch: str) -> str | None:
    """The branch's commit, now in `tree` as well."""
    commit = head_of(clone_url, branch)
    if commit:
        _git(tree, "fetch", "-q", without_credential(clone_url), f"refs/heads/{branch}", remote=clone_url)
    return commit


def _standing(tree: Path, head: str | None, base: str | None) -> str | None:
    """The head if it has just the files that are staged, and stands on `base` where one is asked for."""
    if head is None or _git(tree, "rev-parse", f"{head}^{{tree}}") != _git(tree, "write-tree"):
        return None
    parents = _git(tree, "rev-list", "--parents", "-n1", head).split()[1:]
    return head if base is None or parents == [base] else None


def _git(tree: Path | None, *args: str, remote: str = "") -> str:
    """Git without this machine's configuration, hooks and proxies. Raises: CommandFailed.

    The credential in the URL of `remote` goes by the environment: everybody on the machine reads a command line.
    """
    identity = {f"GIT_{who}_{what}": v for who in ("AUTHOR", "COMMITTER") for what, v in _PERSON.items()}
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")} | identity | _ENV | _credential(remote)
    argv = ["git", "-c", "http.proxy=", "-c", "core.hooksPath=/dev/null", "-c", "core.autocrlf=false", *args]
    try:
        done = subprocess.run(argv, cwd=tree, env=env, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise CommandFailed(Exit.INTERNAL, "git is missing.", "`stackly doctor` says how to install it.") from None
    if done.returncode:
        raise CommandFailed(Exit.INTERNAL, f"git {args[0]} failed.", done.stderr.strip()[-500:])
    return done.stdout


def _credential(remote: str) -> dict[str, str]:
    credential = urlsplit(remote).netloc.rpartition("@")[0]
    if not credential:
        return {}
    basic = base64.b64encode(unquote(credential).encode()).decode()
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"http.{without_credential(remote)}.extraHeader",
        "GIT_CONFIG_VALUE_0": f"Authorization: Basic {basic}",
    }


_PERSON = {"NAME": _WHO, "EMAIL": "demo@stackly.invalid"}
_ENV = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
