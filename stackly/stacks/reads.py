"""Read-only queries for lists: repositories, stacks, states and their history."""

from sqlalchemy import text

from stackly import references
from stackly.db import Json, Session
from stackly.events.reads import rows
from stackly.stacks.store import RepoNotFound, StackNotFound

_REPO = """
SELECT r.id, r.full_name, r.default_branch, r.clone_url, r.hook AS hook_id, r.status, r.github_id,
       coalesce(r.reason, (SELECT string_agg(replace(f.ref, 'refs/heads/', '') || ': ' || f.reason, '; ' ORDER BY f.ref)
                           FROM repo_refs f WHERE f.repo = r.id AND f.reason IS NOT NULL)) AS reason,
       r.created_at,
       coalesce((SELECT jsonb_object_agg(f.ref, f.last_processed) FROM repo_refs f
                 WHERE f.repo = r.id AND f.last_processed IS NOT NULL), '{}') AS last_processed,
       coalesce((SELECT jsonb_agg(jsonb_build_object('ref', f.ref, 'last_processed', f.last_processed,
                   'reason', f.reason, 'gone_since', f.gone_since) ORDER BY f.reason IS NULL, f.ref)
                 FROM repo_refs f WHERE f.repo = r.id
                   AND (f.last_processed IS NOT NULL OR f.reason IS NOT NULL)), '[]') AS refs
FROM repos r
"""

# A row whose code is gone is loose while one of its states holds resources: told from the states, not remembered.
_STACK = """
SELECT c.id, c.name, r.full_name AS repo, c.repo AS repo_id, c.path, c.ref, c.kind, c.reason, c.commit,
       c.registered_at, c.updated_at, c.moved_from, c.errors, c.warnings, c.config, r.default_branch, c.status
FROM stack_codes c JOIN repos r ON r.id = c.repo
"""


async def list_repos(session: Session, account: str, *, limit: int, after: str | None) -> list[Json]:
    """Shape: by name."""
    return await rows(
        session,
        f"{_REPO} WHERE r.account = :account AND r.status <> 'deleted'"
        " AND (CAST(:after AS text) IS NULL OR r.full_name > :after) ORDER BY r.full_name LIMIT :limit",
        account=account,
        after=after,
        limit=limit + 1,
    )


async def get_repo(session: Session, account: str, repo: str) -> Json:
    """By id, a unique beginning of it, full name, or the name without its owner; a deleted one where no other is meant.

    Raises: RepoNotFound, also for another account's; ReferenceAmbiguous.
    """
    found = await rows(
        session,
        f"""SELECT * FROM (SELECT m.*, rank() OVER (ORDER BY (m.status = 'deleted')) AS standing FROM (
          {_REPO} WHERE r.account = :account AND :repo <> ''
            AND (starts_with(r.id, :repo) OR r.full_name = :repo OR split_part(r.full_name, '/', 2) = :repo)) m) f
        WHERE f.standing = 1 OR f.id = :repo ORDER BY (f.id = :repo) DESC, f.created_at DESC LIMIT :limit
        """,
        account=account,
        repo=repo,
        limit=references.SHOWN + 1,
    )
    shown = [{**row, "repository": row["full_name"], "path": None, "ref": None} for row in found]
    meant = references.one("repository", repo, shown)
    if meant is None:
        raise RepoNotFound(f"There is no repository {repo}; `stackly repo list` shows what there is.", repo=repo)
    return dict(meant)


async def set_repo_hook(session: Session, repo: str, hook: str) -> None:
    await session.execute(text("UPDATE repos SET hook = :hook WHERE id = :id"), {"id": repo, "hook": hook})


async def list_stacks(
    session: Session,
    account: str,
    *,
    limit: int,
    after: list[str] | None,
    repo: str | None = None,
    status: str | None = None,
    gone: bool = False,
) -> list[Json]:
    """Shape: by name, then id; `repo` is an id. Deregistered ones only when asked for, by `gone` or by that status."""
    return await rows(
        session,
        f"""{_STACK}
        WHERE c.account = :account
          AND (CAST(:repo AS text) IS NULL OR c.repo = :repo)
          AND (CASE WHEN CAST(:status AS text) IS NULL THEN :gone OR c.status <> 'deregistered'
               ELSE c.status = :status END)
          AND (CAST(:name AS text) IS NULL OR (c.name, c.id) > (:name, :id))
        ORDER BY c.name, c.id LIMIT :limit
        """,
        account=account,
        repo=repo,
        status=status,
        gone=gone,
        name=after[0] if after else None,
        id=after[1] if after else "",
        limit=limit + 1,
    )


# What else than an id or a name a stack is called by: OWNER/REPO:PATH@REF, its ref short or whole, @REF left out.
_CALLED = """(c.name = :stack OR (position(':' IN :stack) > 0 AND EXISTS (
  SELECT FROM unnest(ARRAY[c.path, CASE WHEN c.path = '' THEN '.' ELSE c.path END]) AS p(path)
  WHERE :stack IN (r.full_name || ':' || p.path, r.full_name || ':' || p.path || '@' || c.ref,
                   r.full_name || ':' || p.path || '@' || regexp_replace(c.ref, '^refs/heads/', '')))))"""


async def get_stack(session: Session, account: str, stack: str, *, ref: str | None = None) -> Json:
    """By id, a unique beginning of it, name, or OWNER/REPO:PATH@REF; a deregistered one where no other is meant.

    Shape: `ref` says which branch's, where a name stands on several. Raises: StackNotFound, ReferenceAmbiguous.
    """
    found = await rows(
        session,
        f"""SELECT * FROM (SELECT m.*, rank() OVER (ORDER BY (m.status = 'deregistered')) AS standing FROM (
          {_STACK} WHERE c.account = :account AND :stack <> '' AND (starts_with(c.id, :stack) OR {_CALLED})
            AND (CAST(:ref AS text) IS NULL OR c.ref IN (:ref, 'refs/heads/' || :ref))) m) f
        WHERE f.standing = 1 OR f.id = :stack
        ORDER BY (f.id = :stack) DESC, f.repo, f.path, f.ref, f.registered_at DESC LIMIT :limit
        """,
        account=account,
        stack=stack,
        ref=ref,
        limit=references.SHOWN + 1,
    )
    meant = references.one("stack", stack, [{**row, "repository": row["repo"]} for row in found])
    if meant is None:
        # A commit that somebody names may be anybody's, a fork's as well: only what a branch is at can be run.
        only = " A branch is named here, never a commit or another ref." if ref and "/" not in stack else ""
        raise StackNotFound(
            f"There is no stack {stack}{f' on {ref}' if ref else ''}; `stackly stack list` shows what there is.{only}",
            stack=stack,
        )
    return dict(meant)


async def states_of(session: Session, codes: list[str]) -> dict[str, list[Json]]:
    """Long-lived states by stack, those put aside not. Shape: stack id -> states by name."""
    found = await rows(
        session,
        """
        SELECT s.id, s.code, s.name, s.status, s.commit, s.serial, s.variables, s.metadata,
               s.since, s.reason, s.successor,
               s.destroy_at, (SELECT i.login FROM identities i WHERE i.id = s.waived_by) AS waived_by,
               CASE WHEN s.history_altered ->> 'commit' = s.commit THEN s.history_altered END AS history_altered,
               (SELECT o.id FROM operations o WHERE o.state = s.id ORDER BY o.created_at DESC, o.id DESC LIMIT 1)
                 AS last_run
        FROM stack_states s
        WHERE s.code = ANY(CAST(:codes AS text[])) AND s.test IS NULL AND s.name NOT LIKE '%~%' ORDER BY s.name
        """,
        codes=codes,
    )
    by_code: dict[str, list[Json]] = {code: [] for code in codes}
    for state in found:
        by_code[state["code"]].append(state)
    return by_code


async def history(session: Session, account: str, stack: str, *, limit: int, after: list[str] | None) -> list[Json]:
    """What changed the stack's states, newest first; what a state was before it came to this stack is told as well.

    Shape: `from_commit` is the commit that stood before: of the last deploy, or of the plan by which it followed.
    """
    return await rows(
        session,
        """
        SELECT h.* FROM (
          SELECT o.id, o.kind, s.name AS state, o.status, o.commit AS to_commit, o.trigger ->> 'actor' AS actor,
                 o.trigger, o.changed, o.verdict, o.reason, o.created_at, o.ended_at,
                 coalesce(o.trigger ->> 'why', o.trigger ->> 'subject') AS why,
                 (SELECT p.commit FROM operations p WHERE p.state = o.state AND p.status = 'succeeded'
                    AND (p.kind = 'deploy' OR (p.kind = 'preview' AND p.trigger ->> 'kind' = 'move' AND NOT p.changed
                                               AND p.reason IS NULL))
                    AND (p.created_at, p.id) < (o.created_at, o.id)
                  ORDER BY p.created_at DESC, p.id DESC LIMIT 1) AS from_commit
          FROM operations o JOIN stack_states s ON s.id = o.state
          WHERE o.account = :account AND (o.code = :stack OR s.code = :stack) AND s.test IS NULL
        ) h
        WHERE CAST(:at AS text) IS NULL OR (h.created_at, h.id) < (CAST(CAST(:at AS text) AS timestamptz), :id)
        ORDER BY h.created_at DESC, h.id DESC LIMIT :limit
        """,
        account=account,
        stack=stack,
        at=after[0] if after else None,
        id=after[1] if after else "",
        limit=limit + 1,
    )
