"""SQL of what each sender has appended to a run, and of the one line that counts what was dropped."""

from sqlalchemy import text

from stackly.db import Session
from stackly.runs.budgets import A_RUN, Amount, Take, amount, fit, sentence


async def take(
    session: Session, run: str, sender: str, sizes: list[int], points: int, *, whole: Amount = A_RUN
) -> Take:
    """What still fits into the run's budget of this sender, counted from now on. One at a time for each sender."""
    await session.execute(
        text("INSERT INTO appended (run, sender) VALUES (:run, :sender) ON CONFLICT DO NOTHING"),
        {"run": run, "sender": sender},
    )
    row = (
        await session.execute(
            text("SELECT lines, size, points FROM appended WHERE run = :run AND sender = :sender FOR UPDATE"),
            {"run": run, "sender": sender},
        )
    ).one()
    taken = fit(sizes, points, whole.minus(Amount(row.lines, row.size, row.points)))
    more = amount(sizes, taken)
    await session.execute(
        text(
            "UPDATE appended SET lines = lines + :lines, size = size + :size, points = points + :points"
            " WHERE run = :run AND sender = :sender"
        ),
        {"run": run, "sender": sender, "lines": int(more.lines), "size": int(more.size), "points": int(more.points)},
    )
    return taken


async def count_dropped(session: Session, run: str, test: str, sender: str, *, lines: int, points: int) -> None:
    """One line of the run's log says how much was dropped of this sender, and is kept up to date."""
    row = (
        await session.execute(
            text(
                "INSERT INTO appended (run, sender, dropped_lines, dropped_points) VALUES (:run, :sender, :lines,"
                " :points) ON CONFLICT (run, sender) DO UPDATE SET dropped_lines = appended.dropped_lines + :lines,"
                " dropped_points = appended.dropped_points + :points RETURNING dropped_lines, dropped_points"
            ),
            {"run": run, "sender": sender, "lines": lines, "points": points},
        )
    ).one()
    await session.execute(
        text(
            "INSERT INTO log_chunks (run, test, source, n, at, level, text) VALUES (:run, :test, :source, 1,"
            " clock_timestamp(), 'warning', :text) ON CONFLICT (run, source, n) DO UPDATE SET text = :text,"
            " at = clock_timestamp()"
        ),
        {
            "run": run,
            "test": test,
            "source": f"{sender}/budget",
            "text": sentence(row.dropped_lines, row.dropped_points),
        },
    )
