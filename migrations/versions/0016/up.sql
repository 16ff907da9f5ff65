-- owners by number. Statements end with a semicolon at the end of a line.
ALTER TABLE repos ADD COLUMN owner_id bigint;
