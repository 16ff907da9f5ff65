"""Which files of a repository are no code, whoever pushed them: states, plans, Terraform's own directory.

They would be taken for the platform's: a state that nobody made, a backend that nobody chose. The control plane leaves
them out of the bundles that it writes, and the agent out of those that it unpacks.
"""

from typing import Final

OVERRIDE: Final = "stackly_override.tf.json"
_DIRECTORIES: Final = {
    ".terraform": "Terraform's own working directory",
    "terraform.tfstate.d": "the states of Terraform's workspaces",
}


def left_out(path: str) -> tuple[str, str] | None:
    """What is left out of the code, and what it is; None for code. Shape: a directory ends with a slash."""
    at: list[str] = []
    *directories, name = path.split("/")
    for part in directories:
        at.append(part)
        if (why := _DIRECTORIES.get(part.casefold())) is not None:
            return "/".join(at) + "/", why
    why = _file(name.casefold())
    return None if why is None else (path, why)


def _file(name: str) -> str | None:
    if name == "errored.tfstate" or name.startswith(("terraform.tfstate", ".terraform.tfstate")):
        return "a Terraform state; Stackly keeps the state itself"
    if name in _DIRECTORIES:  # a link of that name leads to another such directory
        return _DIRECTORIES[name]
    if name == "tfplan" or name.endswith(".tfplan"):
        return "a saved plan; Stackly plans itself"
    if name.startswith("stackly_override.tf"):
        return "an override file with the platform's name"
    return None
