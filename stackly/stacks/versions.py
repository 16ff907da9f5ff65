"""State versions: what Terraform wrote, when it counts, and which one recovery reads."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text

from stackly.db import Session
from stackly.errors import Invalid


class StateUnreadable(Invalid):
    title = "This is no Terraform state: an empty or partial file is never «no state»."


@dataclass(frozen=True, slots=True)
class StateHead:
    """What a state file says of itself."""

    serial: int
    lineage: str
    resources: int
    sha256: str

    def object_key(self, state_key: str) -> str:
        """Immutable: the same bytes give the same key, other bytes another."""
        return f"{state_key}/{self.serial}-{self.sha256}"


@dataclass(frozen=True, slots=True)
class StateVersion:
    serial: int
    lineage: str
    object: str
    rescued: bool


@dataclass(frozen=True, slots=True)
class Written:
    accepted: bool
    rescued: bool
    reason: str = ""


def read_head(state: bytes) -> StateHead:
    """Raises: StateUnreadable."""
    try:
        told: Any = json.loads(state)
        serial, lineage, resources = told["serial"], told["lineage"], told.get("resources", [])
        count = sum(len(r["instances"]) for r in resources if r.get("mode", "managed") == "managed")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise StateUnreadable(f"This is no whole Terraform state: {type(e).__name__}.") from e
    if not (isinstance(serial, int) and not isinstance(serial, bool) and serial >= 0 and lineage):
        raise StateUnreadable("The state has no serial or no lineage.")
    return StateHead(serial, str(lineage), count, hashlib.sha256(state).hexdigest())


async def newest_version(session: Session, state: str) -> StateVersion | None:
    """Where recovery starts: rescued versions included, within the state's lineage."""
    rows = await session.execute(
        text(
            "SELECT v.serial, v.lineage, v.object, v.rescued FROM state_versions v"
            " JOIN stack_states s ON s.id = v.state WHERE v.state = :state"
            " AND (s.lineage IS NULL OR v.lineage = s.lineage)"
            " ORDER BY v.serial DESC, v.rescued, v.id DESC LIMIT 1"
        ),
        {"state": state},
    )
    row = rows.one_or_none()
    return None if row is None else StateVersion(row.serial, row.lineage, row.object, row.rescued)


async def write_version(session: Session, state: str, head: StateHead, stored: str, *, run: str, epoch: int) -> Written:
    """Count a version whose object is stored already. Only (run, epoch) that holds the state moves it on.

    Another's is kept as rescued: creates cannot be fenced, and this may be the only record of them (engine rule 12).
    """
    rows = await session.execute(
        text("SELECT holder, epoch, serial, lineage FROM stack_states WHERE id = :id FOR UPDATE"), {"id": state}
    )
    held = rows.one()
    if (held.holder, held.epoch) != (run, epoch):
        await _insert(session, state, head, stored, run=run, epoch=epoch, rescued=True)
        return Written(accepted=False, rescued=True, reason="another run holds the state; kept as a rescued version")
    if held.lineage is not None and head.lineage != held.lineage:
        return Written(accepted=False, rescued=False, reason=f"lineage {head.lineage} is not {held.lineage}")
    if held.serial is not None and head.serial <= held.serial:
        if head.serial == held.serial and await _has(session, state, stored):
            return Written(accepted=True, rescued=False)
        return Written(accepted=False, rescued=False, reason=f"serial {head.serial} is not above {held.serial}")
    await _insert(session, state, head, stored, run=run, epoch=epoch, rescued=False)
    await session.execute(
        text("UPDATE stack_states SET serial = :serial, lineage = :lineage WHERE id = :id"),
        {"id": state, "serial": head.serial, "lineage": head.lineage},
    )
    return Written(accepted=True, rescued=False)


async def _has(session: Session, state: str, stored: str) -> bool:
    rows = await session.execute(
        text("SELECT 1 FROM state_versions WHERE state = :state AND object = :object AND NOT rescued"),
        {"state": state, "object": stored},
    )
    return rows.first() is not None


async def _insert(
    session: Session, state: str, head: StateHead, stored: str, *, run: str, epoch: int, rescued: bool
) -> None:
    await session.execute(
        text(
            "INSERT INTO state_versions (state, serial, lineage, operation, epoch, object, rescued, resources)"
            " SELECT :state, :serial, :lineage, :run, :epoch, :object, :rescued, :resources"
            " WHERE NOT EXISTS (SELECT 1 FROM state_versions WHERE state = :state AND object = :object"
            " AND rescued = :rescued)"
        ),
        {
            "state": state,
            "serial": head.serial,
            "lineage": head.lineage,
            "run": run,
            "epoch": epoch,
            "object": stored,
            "rescued": rescued,
            "resources": head.resources,
        },
    )
