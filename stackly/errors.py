"""Eight kinds of wrong. An error says what kind it is; the edges decide what that means."""

import errno
from typing import Any, ClassVar

from stackly import texts


class StacklyError(Exception):
    """Root of every error the platform raises on purpose.

    `detail` is a sentence for the person who has to act. `fields` travel into the problem body as they are.
    """

    title: ClassVar[str] = "Something is wrong."

    def __init__(self, detail: str = "", **fields: Any) -> None:
        self.detail = texts.kept(detail or self.title)  # it is stored and shown, whatever somebody's name in it holds
        super().__init__(self.detail)
        self.fields: dict[str, Any] = fields

    @classmethod
    def slug(cls) -> str:
        """Shape: kebab-case class name, the last part of the problem's type URI."""
        name = cls.__name__
        return "".join(f"-{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))


class Invalid(StacklyError):  # noqa: N818 - the kinds are adjectives
    title = "The request is understood, and not acceptable."


class Unauthenticated(StacklyError):  # noqa: N818
    title = "Who is asking is not known."


class Denied(StacklyError):  # noqa: N818
    title = "Known, and not allowed."


class NotFound(StacklyError):  # noqa: N818
    title = "It is absent, or not visible to you."


class Conflict(StacklyError):  # noqa: N818
    title = "Its present state forbids this."


class Exhausted(StacklyError):  # noqa: N818
    title = "A quota or a rate is used up."


class Unavailable(StacklyError):  # noqa: N818
    title = "Something this needs is down."


class Faulty(StacklyError):  # noqa: N818
    title = "A tool or an upstream failed on its own terms."


KINDS: tuple[type[StacklyError], ...] = (
    Invalid,
    Unauthenticated,
    Denied,
    NotFound,
    Conflict,
    Exhausted,
    Unavailable,
    Faulty,
)


def kind_of(error: StacklyError) -> type[StacklyError]:
    """Raises: TypeError when a class is of none of the eight kinds, which is a defect."""
    for kind in KINDS:
        if isinstance(error, kind):
            return kind
    raise TypeError(f"{type(error).__name__} is of no kind")


# What a machine runs out of, and has again later: never a defect of whoever met it first.
_SHORT: dict[int, str] = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EMFILE: "this process has no file handles left",
    errno.ENFILE: "the machine has no file handles left",
    errno.ENOMEM: "the machine has no memory left",
    errno.EAGAIN: "the machine has no processes left",
    errno.EIO: "the disk cannot be read or written",
}


def of_os(error: OSError) -> Unavailable | None:
    """The error as ours where the machine lacks something that comes back; None where the caller has to judge."""
    short = _SHORT.get(error.errno or 0)
    if short is None:
        return None
    where = f" ({error.filename})" if error.filename else ""
    return Unavailable(f"Something is used up here: {short}{where}; it is tried again.")


def reason_of(error: BaseException) -> str:
    """One sentence for people. What nobody foresaw is named by its type: its text is not ours, and stays in the log."""
    if isinstance(error, StacklyError):
        return error.detail
    if isinstance(error, OSError) and (known := of_os(error)) is not None:
        return known.detail
    if isinstance(error, TimeoutError):
        return "It took too long; it is tried again."
    return f"It failed unforeseen ({type(error).__name__}); the log has its trace."


class FileProblem:
    """One thing wrong at one place of a file a person wrote.

    Shape: `line` and `column` count from 1; 0 means the whole file.
    """

    __slots__ = ("column", "file", "line", "message")

    def __init__(self, file: str, line: int, column: int, message: str) -> None:
        self.file = texts.shown(file)
        self.line = line
        self.column = column
        self.message = texts.kept(message)

    def as_dict(self) -> dict[str, Any]:
        return {"file": self.file, "line": self.line, "column": self.column, "message": self.message}

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"

    def __repr__(self) -> str:
        return f"FileProblem({self})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FileProblem) and self.as_dict() == other.as_dict()

    def __hash__(self) -> int:
        return hash((self.file, self.line, self.column, self.message))


class FileInvalid(Invalid):
    """A file (stackly.hcl, suite.yaml, a policy, a module) is wrong in one or more places, all of them listed."""

    title = "A file is not valid."

    def __init__(self, problems: list[FileProblem]) -> None:
        super().__init__("\n".join(str(p) for p in problems), errors=[p.as_dict() for p in problems])
        self.problems = problems
