-- one webhook address for many repositories, and how each is looked at. Statements end with a semicolon at the end of a line.
ALTER TABLE hooks ALTER COLUMN repo DROP NOT NULL;
ALTER TABLE hooks ADD COLUMN log_read_to BIGINT;
ALTER TABLE deliveries ADD COLUMN repo TEXT;
CREATE TABLE connections (
	repo TEXT NOT NULL,
	account TEXT NOT NULL,
	installation BIGINT,
	look_at timestamptz DEFAULT clock_timestamp() NOT NULL,
	looked_at timestamptz,
	reason TEXT,
	CONSTRAINT pk_connections PRIMARY KEY (repo)
);
CREATE INDEX ix_connections_look_at ON connections (look_at);
CREATE INDEX ix_connections_installation ON connections (installation) WHERE installation IS NOT NULL;
