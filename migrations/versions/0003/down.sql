DROP INDEX ix_stack_states_history_altered;
ALTER TABLE stack_states DROP COLUMN history_altered, DROP COLUMN metadata;

DROP INDEX ix_stack_codes_watching;
DROP INDEX ix_stack_codes_moved_from;
DROP INDEX ix_stack_codes_former;
DROP INDEX uq_stack_codes_place;
-- Only one row of a place fits the former rule: of several the newest stays, the others are loose no more.
UPDATE stack_codes c SET status = 'deregistered' WHERE c.status = 'loose' AND EXISTS (SELECT 1 FROM stack_codes n WHERE n.repo = c.repo AND n.ref = c.ref AND n.path = c.path AND n.status <> 'deregistered' AND n.id > c.id);
CREATE UNIQUE INDEX uq_stack_codes_place ON stack_codes (repo, ref, path) WHERE status <> 'deregistered';

ALTER TABLE repo_refs DROP COLUMN lost, DROP COLUMN reason, DROP COLUMN gone_since;
