-- A step is a row before it is a message. Statements end with a semicolon at the end of a line.
ALTER TABLE steps ADD COLUMN input JSONB;
ALTER TABLE steps ALTER COLUMN status SET DEFAULT 'expected';
ALTER TABLE steps DROP CONSTRAINT ck_steps_status;
ALTER TABLE steps ADD CONSTRAINT ck_steps_status CHECK (status IN ('expected','running','done','gone'));
ALTER TABLE steps ADD CONSTRAINT ck_steps_expected_has_input CHECK (status <> 'expected' OR input IS NOT NULL);
-- Which generation of workflow code carries a row out: what an earlier one took on is started anew.
ALTER TABLE operations ADD COLUMN ways INTEGER DEFAULT '1' NOT NULL;
ALTER TABLE tests ADD COLUMN ways INTEGER DEFAULT '1' NOT NULL;
