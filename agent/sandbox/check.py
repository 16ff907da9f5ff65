"""`python -m agent.sandbox.check HOME`: the isolation that an agent of that home would have, as one JSON object.

Nothing stays behind: where there is no such directory yet, one beside it is tried.
"""

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.sandbox import isolation


@contextmanager
def _place(home: Path) -> Iterator[Path]:
    if home.exists():
        yield home
        return
    above = next(p for p in home.parents if p.exists())
    with tempfile.TemporaryDirectory(prefix=".stackly-", dir=above) as made:
        if os.geteuid() == 0:
            Path(made).chmod(0o711)  # as a home of root's is
        yield Path(made) / "agent"


def main(argv: list[str]) -> None:
    try:
        with _place(Path(argv[0]).absolute()) as home:
            found = isolation.find(home)
    except OSError as error:
        sys.exit(str(error))
    print(json.dumps(isolation.described(found)))  # noqa: T201 - this is the answer


if __name__ == "__main__":
    main(sys.argv[1:])
