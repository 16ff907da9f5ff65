"""GitHub's JSON shapes of what the hub has: users, repositories, hooks, deliveries, statuses."""

import base64
import json
from typing import Any

from stackly import clock
from stackly.local.hub.apps import App, Installation
from stackly.local.hub.store import Delivery, Hook, Repo, Store

PERMISSIONS = {"contents": "read", "metadata": "read", "statuses": "write"}

_REPO_URLS = {
    "archive": "/{archive_format}{/ref}",
    "assignees": "{/user}",
    "blobs": "git/blobs{/sha}",
    "branches": "{/branch}",
    "collaborators": "{/collaborator}",
    "comments": "{/number}",
    "commits": "{/sha}",
    "compare": "/{base}...{head}",
    "contents": "/{+path}",
    "contributors": "",
    "deployments": "",
    "downloads": "",
    "events": "",
    "forks": "",
    "git_commits": "git/commits{/sha}",
    "git_refs": "git/refs{/sha}",
    "git_tags": "git/tags{/sha}",
    "hooks": "",
    "issue_comment": "issues/comments{/number}",
    "issue_events": "issues/events{/number}",
    "issues": "{/number}",
    "keys": "{/key_id}",
    "labels": "{/name}",
    "languages": "",
    "merges": "",
    "milestones": "{/number}",
    "notifications": "{?since,all,participating}",
    "pulls": "{/number}",
    "releases": "{/id}",
    "stargazers": "",
    "statuses": "/{sha}",
    "subscribers": "",
    "subscription": "",
    "tags": "",
    "teams": "",
    "trees": "git/trees{/sha}",
}
_USER_URLS = {
    "events": "events{/privacy}",
    "followers": "followers",
    "following": "following{/other_user}",
    "gists": "gists{/gist_id}",
    "organizations": "orgs",
    "received_events": "received_events",
    "repos": "repos",
    "starred": "starred{/owner}{/repo}",
    "subscriptions": "subscriptions",
}


class Shapes:
    """Needs to know under which address the hub is reached."""

    def __init__(self, base_url: str, store: Store) -> None:
        self.base_url = base_url.rstrip("/")
        self._store = store

    def user(self, login: str) -> dict[str, Any]:
        number, url = self._store.user_id(login), f"{self.base_url}/users/{login}"
        return {
            "login": login,
            "id": number,
            "node_id": _node("User", number),
            "avatar_url": f"{url}/avatar",
            "gravatar_id": "",
            "url": url,
            "html_url": f"{self.base_url}/{login}",
            **{f"{name}_url": f"{url}/{tail}" for name, tail in _USER_URLS.items()},
            "type": "User",
            "site_admin": False,
        }

    def clone_url(self, repo: Repo) -> str:
        return f"{self.base_url}/{repo.full_name}.git"

    def repository(self, repo: Repo) -> dict[str, Any]:
        html, url = f"{self.base_url}/{repo.full_name}", f"{self.base_url}/repos/{repo.full_name}"
        return {
            "id": repo.id,
            "node_id": _node("Repository", repo.id),
            "name": repo.name,
            "full_name": repo.full_name,
            "private": repo.private,
            "visibility": "private" if repo.private else "public",
            "owner": self.user(repo.owner),
            "html_url": html,
            "url": url,
            "description": repo.description,
            **{f"{name}_url": _join(url, name, tail) for name, tail in _REPO_URLS.items()},
            "git_url": f"git://{html.partition('://')[2]}.git",
            "ssh_url": f"git@{html.partition('://')[2].replace('/', ':', 1)}.git",
            "clone_url": self.clone_url(repo),
            "svn_url": html,
            "mirror_url": None,
            "homepage": None,
            "language": None,
            "license": None,
            "fork": False,
            "archived": repo.archived,
            "disabled": False,
            "is_template": False,
            "allow_forking": True,
            "web_commit_signoff_required": False,
            **{f"has_{part}": part == "issues" for part in _PARTS},
            **dict.fromkeys(_COUNTS, 0),
            "topics": [],
            "default_branch": repo.default_branch,
            "created_at": repo.created_at,
            "updated_at": repo.updated_at,
            "pushed_at": repo.pushed_at,
        }

    def pushed_repository(self, repo: Repo) -> dict[str, Any]:
        """As it stands in a push: two times are numbers, and the owner has a name."""
        shape = self.repository(repo)
        return {
            **shape,
            "owner": {**shape["owner"], "name": repo.owner, "email": None},
            "url": shape["html_url"],
            "created_at": _seconds(repo.created_at),
            "pushed_at": _seconds(repo.pushed_at or repo.updated_at),
            "stargazers": 0,
            "master_branch": repo.default_branch,
        }

    def organization(self, owner: str) -> dict[str, Any]:
        url = f"{self.base_url}/orgs/{owner}"
        tails = ("repos", "events", "hooks", "issues")
        return {
            "login": owner,
            "id": self._store.user_id(owner),
            "node_id": _node("Organization", self._store.user_id(owner)),
            "url": url,
            **{f"{tail}_url": f"{url}/{tail}" for tail in tails},
            "members_url": f"{url}/members{{/member}}",
            "public_members_url": f"{url}/public_members{{/member}}",
            "avatar_url": f"{self.base_url}/users/{owner}/avatar",
            "description": None,
        }

    def app(self, app: App) -> dict[str, Any]:
        return {
            "id": app.id,
            "slug": app.slug,
            "node_id": _node("App", app.id),
            "client_id": app.client_id,
            "name": app.slug,
            "owner": self.user(app.slug),
            "description": None,
            "external_url": self.base_url,
            "html_url": f"{self.base_url}/apps/{app.slug}",
            "permissions": PERMISSIONS,
            "events": ["push", "repository"],
        }

    def installation(self, app: App, installation: Installation) -> dict[str, Any]:
        url = f"{self.base_url}/app/installations/{installation.id}"
        suspended = installation.suspended_at
        return {
            "id": installation.id,
            "client_id": app.client_id,
            "account": self.user(installation.owner),
            "repository_selection": "all" if installation.everything else "selected",
            "access_tokens_url": f"{url}/access_tokens",
            "repositories_url": f"{self.base_url}/installation/repositories",
            "html_url": f"{self.base_url}/organizations/{installation.owner}/settings/installations/{installation.id}",
            "app_id": app.id,
            "app_slug": app.slug,
            "target_id": self._store.user_id(installation.owner),
            "target_type": "User",
            "permissions": PERMISSIONS,
            "events": ["push", "repository"],
            "created_at": installation.created_at,
            "updated_at": installation.updated_at,
            "single_file_name": None,
            "has_multiple_single_files": False,
            "single_file_paths": [],
            "suspended_by": self.user(installation.owner) if suspended else None,
            "suspended_at": suspended,
        }

    def installed_repository(self, repo: Repo) -> dict[str, Any]:
        """As it stands in the lists of an installation's events."""
        whole = self.repository(repo)
        return {name: whole[name] for name in ("id", "node_id", "name", "full_name", "private")}

    def hook(self, repo: Repo | None, hook: Hook) -> dict[str, Any]:
        place = f"repos/{repo.full_name}/hooks" if repo else f"orgs/{hook.owner}/hooks" if hook.owner else "app/hook"
        url = f"{self.base_url}/{place}/{hook.id}" if place != "app/hook" else f"{self.base_url}/{place}"
        return {
            "type": hook.kind,
            "id": hook.id,
            "name": "web",
            "active": hook.active,
            "events": list(hook.events),
            "config": hook_config(hook),
            "updated_at": hook.updated_at,
            "created_at": hook.created_at,
            "url": url,
            "test_url": f"{url}/test",
            "ping_url": f"{url}/pings",
            "deliveries_url": f"{url}/deliveries",
            "last_response": {
                "code": hook.last_code,
                "status": "unused" if hook.last_code is None else "active",
                "message": hook.last_status,
            },
        }

    def activity(self, row: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": row["id"],
            "node_id": _node("PushEvent", row["id"]),
            **{name: row[name] for name in ("before", "after", "ref")},
            "timestamp": row["at"],
            "activity_type": row["kind"],
            "actor": self.user(row["actor"]),
        }

    def status(self, repo: Repo, row: dict[str, Any]) -> dict[str, Any]:
        return {
            "url": f"{self.base_url}/repos/{repo.full_name}/statuses/{row['sha']}",
            "avatar_url": None,
            "id": row["id"],
            "node_id": _node("StatusContext", row["id"]),
            "state": row["state"],
            "description": row["description"],
            "target_url": row["target_url"],
            "context": row["context"],
            "created_at": row["created_at"],
            "updated_at": row["created_at"],
            "creator": self.user(row["creator"]),
        }


def hook_config(hook: Hook) -> dict[str, str]:
    """The secret is never told again."""
    return {k: "********" if k == "secret" else v for k, v in hook.config.items()}


def delivery(item: Delivery) -> dict[str, Any]:
    return {
        "id": item.id,
        "guid": item.guid,
        "delivered_at": item.delivered_at,
        "redelivery": item.redelivery,
        "duration": item.duration,
        "status": item.status,
        "status_code": item.status_code,
        "event": item.event,
        "action": item.action,
        "installation_id": None,
        "repository_id": item.repo or None,
        "throttled_at": None,
    }


def delivery_detail(item: Delivery) -> dict[str, Any]:
    return {
        **delivery(item),
        "url": item.url,
        "request": {"headers": item.request_headers, "payload": json.loads(item.body)},
        "response": {"headers": item.response_headers, "payload": item.response_body},
    }


_PARTS = ("issues", "projects", "downloads", "wiki", "pages", "discussions")
_COUNTS = (
    *("forks", "forks_count", "watchers", "watchers_count"),
    *("open_issues", "open_issues_count", "stargazers_count", "size"),
)


def _join(url: str, name: str, tail: str) -> str:
    if name == "archive":
        return url + tail
    if tail.startswith(("git/", "issues/")):
        return f"{url}/{tail}"
    return f"{url}/{name}{tail}"


def _node(kind: str, number: int) -> str:
    return base64.b64encode(f"{kind}{number}".encode()).decode()


def _seconds(iso: str) -> int:
    return int(clock.parse(iso).timestamp())
