"""Where the programs are that a sandbox is made with: what is tried at the start is what is used afterwards."""

import os
import shutil

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def located(name: str) -> str | None:
    """By our own PATH, and by the system's where that is shorter. Shape: absolute."""
    return shutil.which(name, path=os.pathsep.join(filter(None, (os.environ.get("PATH"), SYSTEM_PATH))))
