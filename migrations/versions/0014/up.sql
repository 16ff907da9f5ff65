-- numbers: what a delivery is about, and the default branch of before. Statements end with a semicolon at the end of a line.
ALTER TABLE deliveries ADD COLUMN about bigint;
ALTER TABLE deliveries ADD COLUMN about_name text;
ALTER TABLE connections ADD COLUMN confirmed_at timestamptz NOT NULL DEFAULT clock_timestamp();
ALTER TABLE repos ADD COLUMN former_default text;
