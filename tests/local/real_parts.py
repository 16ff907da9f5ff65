"""A supervisor of the three services alone, as a home runs them: `real_parts.py HOME`."""

import sys
from pathlib import Path

from stackly.local import components, supervisor
from stackly.local.home import Home, configured

if __name__ == "__main__":
    here = Home(Path(sys.argv[1]))
    services = [c for c in components.of(here, configured(here)) if c.name in {"postgres", "temporal", "s3"}]
    supervisor.run(here, services)
