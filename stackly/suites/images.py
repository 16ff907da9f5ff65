"""The name of a container image, as Docker reads it. Pure."""

import re

# A first part without dot and port is a part of the path, but for localhost.
_LABELS = r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)"
_HOST = rf"(?:(?:localhost(?::\d{{1,5}})?|{_LABELS}+(?::\d{{1,5}})?|{_LABELS}*:\d{{1,5}})/)?"
_PART = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_TAG = r":[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"@sha256:[0-9a-f]{64}"
_NAME = rf"{_HOST}{_PART}(?:/{_PART})*(?:{_TAG})?(?:{_DIGEST})?"
_PINNED = rf"{_DIGEST}$"
_TAGGED = r":[^/:@]+$"


def problem(image: str) -> str:
    """What is wrong with it, and what to write instead; '' when a run can ask for it.

    Shape: `${commit}` may stand in it; it is read as the 40 digits that it becomes.
    """
    name = image.replace("${commit}", "0" * 40)
    if not re.search(_PINNED, name):
        if not re.search(_TAGGED, name):
            return "The image has no tag; add one that names a version, or a digest."
        if name.endswith(":latest"):
            return "`latest` names another image tomorrow; write a tag that stays, or a digest."
    if not re.fullmatch(_NAME, name):
        return "Docker takes no image of this name; write it in lower case, such as `acme/postgres:${commit}`."
    return ""
