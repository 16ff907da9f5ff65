-- loose stacks, associations, destroy by policy. Statements end with a semicolon at the end of a line.
DROP INDEX ix_stack_codes_loose;
DROP INDEX ix_stack_states_destroy_at;
DROP INDEX ix_stack_states_successor;
ALTER TABLE stack_states DROP CONSTRAINT ck_stack_states_waived_by_a_person;
ALTER TABLE stack_states DROP COLUMN waived_by;
ALTER TABLE stack_states DROP COLUMN destroy_left_s;
ALTER TABLE stack_states DROP COLUMN destroy_at;
ALTER TABLE stack_states DROP COLUMN successor;
ALTER TABLE stack_states DROP COLUMN reason;
ALTER TABLE stack_states DROP COLUMN since;
ALTER TABLE stack_codes DROP COLUMN requires;
UPDATE repos SET status = 'suspended' WHERE status = 'uninstalled';
ALTER TABLE repos DROP CONSTRAINT ck_repos_status;
ALTER TABLE repos ADD CONSTRAINT ck_repos_status CHECK (status IN ('active','suspended','archived','deleted'));
