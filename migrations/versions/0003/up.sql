-- Refs that went away wait before their stacks are given up; one ref's failure is its own; what a rewritten history left.

ALTER TABLE repo_refs ADD COLUMN gone_since timestamptz, ADD COLUMN reason TEXT, ADD COLUMN lost TEXT[] DEFAULT '{}' NOT NULL;

-- A loose stack has left its place: another may have come there while it waits for its end.
DROP INDEX uq_stack_codes_place;
CREATE UNIQUE INDEX uq_stack_codes_place ON stack_codes (repo, ref, path) WHERE status IN ('active','rejected');
CREATE INDEX ix_stack_codes_former ON stack_codes (repo, ref, path);
CREATE INDEX ix_stack_codes_moved_from ON stack_codes (moved_from) WHERE moved_from IS NOT NULL;
CREATE INDEX ix_stack_codes_watching ON stack_codes (repo, ref) WHERE status = 'active' AND config #> '{trigger,paths,0}' IS NOT NULL;

ALTER TABLE stack_states ADD COLUMN metadata JSONB DEFAULT '{}' NOT NULL, ADD COLUMN history_altered JSONB;
CREATE INDEX ix_stack_states_history_altered ON stack_states (code) WHERE history_altered IS NOT NULL;
