-- troubles. Statements end with a semicolon at the end of a line.
CREATE TABLE troubles (
    act text CONSTRAINT pk_troubles PRIMARY KEY,
    count bigint NOT NULL,
    about text NOT NULL,
    reason text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
