"""Whether a process that is not ready yet gets on: slow is not dead."""

from pathlib import Path

import psutil


class Progress:
    """Compares what a process and its children have done with what they had done at the last look."""

    def __init__(self, log_file: Path) -> None:
        self._log_file = log_file
        self._before: tuple[float, ...] = ()

    def gets_on(self, pid: int) -> bool:
        """Since the last look it computed, read, wrote or logged, or it waits for a disk this very moment."""
        now, waits = self._done(pid)
        before, self._before = self._before, now
        return waits or now != before

    def _done(self, pid: int) -> tuple[tuple[float, ...], bool]:
        computed, moved, waits = 0.0, 0, False
        for process in _family(pid):
            try:
                times = process.cpu_times()
                computed += times.user + times.system
                waits = waits or process.status() == psutil.STATUS_DISK_SLEEP
                moved += sum(process.io_counters()[2:4])
            except (psutil.Error, OSError):  # it ended meanwhile, or is another user's
                continue
        return (round(computed, 2), moved, _size(self._log_file)), waits


def _family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.Error:
        return []


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
