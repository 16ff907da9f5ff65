"""first tables"""

from pathlib import Path

from alembic import op
from sqlalchemy import text as sql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_SQL = sorted((Path(__file__).parent / revision).glob("*.sql"))


def _statements() -> list[str]:
    text = "\n".join(file.read_text() for file in _SQL)
    lines = [line for line in text.splitlines() if not line.startswith("--")]
    return [s.strip(" \n;") for s in "\n".join(lines).split(";\n") if s.strip(" \n;")]


def _tables() -> list[str]:
    created = (s.split(maxsplit=3) for s in _statements() if s.startswith("CREATE TABLE"))
    return [name for _, _, name, _ in created]


def upgrade() -> None:
    for statement in _statements():
        op.execute(sql(statement.replace(":", r"\:")))


def downgrade() -> None:
    for table in reversed(_tables()):
        op.drop_table(table)
