-- budgets. Statements end with a semicolon at the end of a line.
CREATE TABLE appended (
    run text NOT NULL,
    sender text NOT NULL,
    lines bigint NOT NULL DEFAULT '0',
    size bigint NOT NULL DEFAULT '0',
    points bigint NOT NULL DEFAULT '0',
    dropped_lines bigint NOT NULL DEFAULT '0',
    dropped_points bigint NOT NULL DEFAULT '0',
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT pk_appended PRIMARY KEY (run, sender)
);
CREATE INDEX ix_appended_at ON appended (at);
