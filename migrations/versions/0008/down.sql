-- How an attempt ended that has no outcome, taken back.
ALTER TABLE steps DROP CONSTRAINT ck_steps_gone_by_when_gone;
ALTER TABLE steps DROP CONSTRAINT ck_steps_gone_by;
ALTER TABLE steps DROP COLUMN gone_by;
