"""bench/latest.json: one flat object of figures; each bench adds its own."""

import json
from pathlib import Path

LATEST = Path(__file__).resolve().parents[2] / "bench" / "latest.json"


def record(**figures: float) -> None:
    """Merge these figures into the file, whatever other benches wrote."""
    LATEST.parent.mkdir(exist_ok=True)
    try:
        known = json.loads(LATEST.read_text())
    except (FileNotFoundError, ValueError):
        known = {}
    LATEST.write_text(json.dumps({**known, **figures}, indent=1, sort_keys=True) + "\n")
