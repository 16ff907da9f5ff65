"""HCL of strangers, read by processes that can be killed: whatever a file does to the parser, the reader goes on.

Same results as `hcl.read`. A child costs half a second to start, so it stays for the next file; what was read is
remembered by its content. Processor time is what is bounded, so that a busy machine refuses no file that an idle
one takes.
"""

import contextlib
import hashlib
import io
import os
import pickle
import queue
import resource
import signal
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Sequence
from functools import cache
from typing import IO, Any, Final, cast

from stackly import hcl
from stackly.errors import FileInvalid, FileProblem, Unavailable

CPU_SECONDS: Final = 10.0
WALL_SECONDS: Final = 120.0  # of a child that does nothing: the machine's trouble, not the file's
MEMORY: Final = 1024**3
_REMEMBERED: Final = 32 * 1024 * 1024
_CHILDREN: Final = 2
_ALLOWED = {("stackly.hcl", name): getattr(hcl, name) for name in ("Value", "Attribute", "Block", "Body")}

_Problems = tuple[tuple[int, int, str], ...]


class Readers:
    """A few children, started when needed. Safe to use from many threads. Units: seconds of processor and clock."""

    def __init__(self, children: int = _CHILDREN, *, cpu: float = CPU_SECONDS, wall: float = WALL_SECONDS) -> None:
        self._cpu = cpu
        self._wall = wall
        self._free: queue.LifoQueue[_Child | None] = queue.LifoQueue()
        for _ in range(children):
            self._free.put(None)
        self._read: OrderedDict[bytes, bytes] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def read(self, text: str, file: str, *, max_bytes: int = hcl.MAX_BYTES) -> tuple[hcl.Body, list[FileProblem]]:
        """Raises: FileInvalid as `hcl.read` does, and for what takes too long; Unavailable when no child can run."""
        data = text.encode("utf-8", "surrogatepass")
        if len(data) > max_bytes:
            return hcl.read(text, file, max_bytes=max_bytes)  # its first look refuses it
        key = hashlib.sha256(b"%d " % max_bytes + data).digest()
        known = self._recall(key)
        if known is None:
            known = self._ask(data, max_bytes)
            self._remember(key, known)
        told, body = cast("tuple[_Problems, hcl.Body | None]", _Unpickler(io.BytesIO(known)).load())
        problems = [FileProblem(file, *problem) for problem in told]
        if body is None:
            raise FileInvalid(problems)
        return body, problems

    def parse(self, text: str, file: str, *, max_bytes: int = hcl.MAX_BYTES) -> hcl.Body:
        """As `hcl.parse`, and as `read`."""
        body, problems = self.read(text, file, max_bytes=max_bytes)
        if problems:
            raise FileInvalid(problems)
        return body

    def close(self) -> None:
        """End the children that rest."""
        with contextlib.suppress(queue.Empty):
            while True:
                child = self._free.get_nowait()
                if child is not None:
                    child.kill()

    def _ask(self, data: bytes, max_bytes: int) -> bytes:
        """A child that ends without an answer is asked for once more: it may have been ended by somebody else."""
        for _ in range(2):
            child = self._free.get() or _Child(self._cpu)
            answer = None
            try:
                answer = child.ask(data, max_bytes, self._wall)
            finally:
                self._free.put(child if answer is not None else None)
            if answer is not None:
                return answer
            code = child.kill()
            if code == -signal.SIGPROF:
                why = f"the file took longer than {self._cpu:g} s to read; simplify it"
                return _packed(((1, 1, why),), None)
        if code == -signal.SIGKILL:
            raise Unavailable(f"A file could not be read within {self._wall:g} seconds: the machine is too busy.")
        return _packed(((1, 1, f"the file ended its reader (code {code}); simplify it"),), None)

    def _recall(self, key: bytes) -> bytes | None:
        with self._lock:
            if key in self._read:
                self._read.move_to_end(key)
            return self._read.get(key)

    def _remember(self, key: bytes, answer: bytes) -> None:
        with self._lock:
            self._size += len(answer) - len(self._read.pop(key, b""))
            self._read[key] = answer
            while self._size > _REMEMBERED:
                self._size -= len(self._read.popitem(last=False)[1])


@cache
def _readers() -> Readers:
    return Readers()


def read(text: str, file: str, *, max_bytes: int = hcl.MAX_BYTES) -> tuple[hcl.Body, list[FileProblem]]:
    """As `hcl.read`, with this process's readers."""
    return _readers().read(text, file, max_bytes=max_bytes)


def parse(text: str, file: str, *, max_bytes: int = hcl.MAX_BYTES) -> hcl.Body:
    """As `hcl.parse`, with this process's readers."""
    return _readers().parse(text, file, max_bytes=max_bytes)


class _Child:
    """One process. It ends by itself when its input does, or when one file takes too long."""

    def __init__(self, cpu: float) -> None:
        env = {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "PATH": os.environ.get("PATH", os.defpath)}
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "stackly.hcl_worker", str(cpu)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=env,
            )
        except OSError as e:
            raise Unavailable(f"No process could be started to read a file: {e}.") from e

    def ask(self, data: bytes, max_bytes: int, wall: float) -> bytes | None:
        """None when it died over it."""
        pipes = self._process.stdin, self._process.stdout
        assert pipes[0] is not None
        assert pipes[1] is not None
        watch = threading.Timer(wall, self._process.kill)
        watch.start()
        try:
            _send(pipes[0], b"%d\n" % max_bytes + data)
            return _receive(pipes[1])
        except OSError:
            return None
        finally:
            watch.cancel()

    def kill(self) -> int:
        """Shape: the exit code it had, had it ended before."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0.5)  # its pipes close a moment before it can be waited for
        self._process.kill()
        code = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                cast("IO[bytes]", pipe).close()
        return code


class _Unpickler(pickle.Unpickler):
    """Takes back what children send, and no other class."""

    def find_class(self, module: str, name: str) -> Any:
        found = _ALLOWED.get((module, name))
        if found is None:
            raise pickle.UnpicklingError(f"{module}.{name} is not of HCL")
        return found


def _packed(problems: _Problems, body: hcl.Body | None) -> bytes:
    return pickle.dumps((problems, body), protocol=5)


def _told(problems: Sequence[FileProblem]) -> _Problems:
    return tuple((p.line, p.column, p.message) for p in problems)


def _send(pipe: IO[bytes], data: bytes) -> None:
    pipe.write(len(data).to_bytes(8) + data)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> bytes | None:
    head = pipe.read(8)
    size = int.from_bytes(head)
    data = pipe.read(size) if len(head) == 8 else b""
    return data if len(head) == 8 and len(data) == size else None


def _answer(data: bytes) -> bytes:
    limit, _, text = data.partition(b"\n")
    try:
        body, problems = hcl.read(text.decode("utf-8", "surrogatepass"), "", max_bytes=int(limit))
    except FileInvalid as e:
        return _packed(_told(e.problems), None)
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(20 * before)  # what the parser could hold can be written down
    try:
        return _packed(_told(problems), body)
    finally:
        sys.setrecursionlimit(before)


def _serve(cpu: float) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    hcl.parse("a = 1\n", "")  # the grammar is loaded at nobody's expense
    while (data := _receive(source)) is not None:
        signal.setitimer(signal.ITIMER_PROF, cpu)  # its signal ends the process, whatever the parser is at
        answer = _answer(data)
        signal.setitimer(signal.ITIMER_PROF, 0)
        _send(sink, answer)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        _serve(float(sys.argv[1]))
