"""The hub's parts, put together once."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stackly import clock
from stackly.local.hub.activities import Activities
from stackly.local.hub.apps import Apps
from stackly.local.hub.deliveries import Deliveries
from stackly.local.hub.faults import Dice, Limits
from stackly.local.hub.keys import Keys, own_key
from stackly.local.hub.oauth import Now, OAuth
from stackly.local.hub.oauth_devices import Devices
from stackly.local.hub.people import People
from stackly.local.hub.pushes import Pushes
from stackly.local.hub.repositories import RefChange, Repositories
from stackly.local.hub.shapes import Shapes
from stackly.local.hub.store import Repo, Store

USER = "developer"
MAX_STATUSES = 1000  # of one commit and context, as on GitHub


@dataclass(frozen=True, slots=True)
class Hub:
    """`user` is whom pages offer first, and who is named where nobody acted."""

    store: Store
    shapes: Shapes
    repositories: Repositories
    pushes: Pushes
    deliveries: Deliveries
    dice: Dice
    spool: Path
    apps: Apps
    limits: Limits
    oauth: OAuth
    devices: Devices
    people: People
    keys: Keys
    activities: Activities
    user: str = USER
    max_statuses: int = MAX_STATUSES

    async def pushed(self, repo: Repo, changes: list[RefChange]) -> Repo:
        """Note a push. The first branch of an empty repository becomes its default, as on GitHub."""
        self.store.pushed(repo.id)
        refs = await self.repositories.refs(repo.id)
        created = [c.ref.removeprefix("refs/heads/") for c in changes if c.created and c.ref.startswith("refs/heads/")]
        if created and f"refs/heads/{repo.default_branch}" not in refs:
            await self.repositories.point_head(repo.id, created[0])
            self.store.change_repo(repo.id, default_branch=created[0], description=repo.description)
        return self.store.repo_by_id(repo.id) or repo


def build(
    home: Path,
    base_url: str,
    keys: Mapping[str, str] | None = None,
    *,
    max_statuses: int = MAX_STATUSES,
    now: Now = clock.now,
) -> Hub:
    """`now` is the clock of codes and device logins; `keys` maps keys to logins, None: one of its own, for USER."""
    store, dice = Store(home), Dice()
    apps, oauth = Apps(store.db), OAuth(store.db, now)
    shapes, repositories = Shapes(base_url, store), Repositories(home / "repositories")
    spool = home / "spool"
    for folder in (repositories.root, spool):
        folder.mkdir(parents=True, exist_ok=True)
    return Hub(
        store=store,
        shapes=shapes,
        repositories=repositories,
        pushes=Pushes(repositories, shapes),
        deliveries=Deliveries(store, dice, apps),
        dice=dice,
        spool=spool,
        apps=apps,
        limits=Limits(),
        oauth=oauth,
        devices=Devices(store.db, oauth, now),
        people=People(store, shapes),
        keys=Keys({own_key(home): USER} if keys is None else keys),
        activities=Activities(store.db),
        max_statuses=max_statuses,
    )
