"""Where things are, as agents are told."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Places:
    """Shape: host:port each."""

    gateway: str
    enrol: str
    namespace: str
