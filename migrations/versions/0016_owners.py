"""owners by number"""

from pathlib import Path

from alembic import op
from sqlalchemy import text as sql

from stackly.local.schema import statements

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_SQL = Path(__file__).parent / revision


def upgrade() -> None:
    for statement in statements(_SQL / "up.sql"):
        op.execute(sql(statement.replace(":", r"\:")))


def downgrade() -> None:
    for statement in statements(_SQL / "down.sql"):
        op.execute(sql(statement.replace(":", r"\:")))
