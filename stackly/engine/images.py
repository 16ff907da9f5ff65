"""What the images of a run's suite meant: found once, kept in its spec, the same for every test and rerun. Pure."""

from collections.abc import Mapping
from typing import Any

from stackly.errors import Faulty

KEY = "images"  # of a run's spec


def of_spec(spec: Mapping[str, Any]) -> dict[str, str]:
    """Every image that the suite names -> what it meant; '' where that is not known yet."""
    known = spec.get(KEY) or {}
    tests = (spec.get("suite") or {}).get("tests", [])
    named = {str((test.get("database") or {}).get("image") or "") for test in tests}
    return {image: str(known.get(image, "")) for image in sorted(named - {""})}


def pinned(spec: Mapping[str, Any], image: str) -> str:
    """What a test starts instead of the name. Shape: '' for ''. Raises: Faulty before it was found."""
    found = str((spec.get(KEY) or {}).get(image, ""))
    if image and not found:
        raise Faulty(f"What image {image} means was not found before its test began.")
    return found
