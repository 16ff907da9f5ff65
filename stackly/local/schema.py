"""Migrations as functions, for the first start of a home and for tests."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from alembic import command
from alembic.config import Config

import stackly


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the database there. Shape: `url` is postgresql://…"""
    _alone(lambda: command.upgrade(_config(url), revision))


def downgrade(url: str, revision: str = "base") -> None:
    _alone(lambda: command.downgrade(_config(url), revision))


def scripts() -> Path:
    """Beside the package in a checkout, inside of it when installed."""
    package = Path(stackly.__file__).parent
    beside = package.parent / "migrations"
    return beside if (beside / "env.py").exists() else package / "migrations"


def statements(file: Path) -> list[str]:
    """The statements of one SQL file of a revision: each ends with a semicolon at the end of a line."""
    lines = [line for line in file.read_text().split("\n") if not line.startswith("--")]
    return [s.strip(" \n;") for s in "\n".join(lines).split(";\n") if s.strip(" \n;")]


def _config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["url"] = url
    return config


def _alone(migrate: Callable[[], None]) -> None:
    """The migrations' environment runs a loop of its own, which a thread that has one does not allow."""
    with ThreadPoolExecutor(1, thread_name_prefix="migrations") as thread:
        thread.submit(migrate).result()
