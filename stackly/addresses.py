"""URLs that others wrote. Pure."""

from urllib.parse import SplitResult, urlsplit


def parsed(url: str) -> SplitResult | None:
    """The parts of a URL, each of which can be read; None where it is none."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts
