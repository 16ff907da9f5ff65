"""Finds the targets: every module of this folder that has `create`."""

import importlib
import pkgutil
from collections.abc import Callable
from typing import cast

import agent.targets
from agent.targets.target import Target, TargetSite
from stackly.errors import Invalid

Create = Callable[[TargetSite], Target]


def creators() -> dict[str, Create]:
    """By module name, which is the name stackly.hcl uses."""
    found: dict[str, Create] = {}
    for module in pkgutil.iter_modules(agent.targets.__path__):
        create = getattr(importlib.import_module(f"agent.targets.{module.name}"), "create", None)
        if create is not None:
            found[module.name] = cast("Create", create)
    return found


class Targets:
    """The targets of one agent, made when first asked for."""

    def __init__(self, site: TargetSite) -> None:
        self._site = site
        self._creators = creators()
        self._made: dict[str, Target] = {}

    @property
    def names(self) -> list[str]:
        return sorted(self._creators)

    def get(self, name: str) -> Target:
        """Raises: Invalid."""
        if name not in self._creators:
            raise Invalid(f"Target {name!r} is unknown to this agent; it knows {', '.join(self.names)}.")
        if name not in self._made:
            self._made[name] = self._creators[name](self._site)
        return self._made[name]
