-- requests under way. Statements end with a semicolon at the end of a line.
ALTER TABLE idempotency_keys ADD COLUMN done text[] NOT NULL DEFAULT '{}';
ALTER TABLE idempotency_keys ADD COLUMN held_until timestamptz;
