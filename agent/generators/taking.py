"""What a generator wrote becomes ours before it is read: it may have put anything in its place."""

import os
from pathlib import Path

from agent import reading
from agent.generators.model import Job

MOST_BYTES = 64 * 2**30  # every transaction of the longest measurement is a line


def take(job: Job, pattern: str) -> list[Path]:
    """Move what matches out of the generator's directory, once the generator has ended.

    Raises: FileUnsafe for what is no plain file.
    """
    taken = []
    for path in sorted(job.work.glob(pattern)):
        target = job.directory / path.name
        path.rename(target)
        with reading.open_regular(job.directory, target, most=MOST_BYTES) as file:
            os.fchown(file, os.geteuid(), os.getegid())
            os.fchmod(file, 0o600)
        taken.append(target)
    return taken
