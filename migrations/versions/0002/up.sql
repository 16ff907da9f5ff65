-- loose stacks, associations, destroy by policy. Statements end with a semicolon at the end of a line.
ALTER TABLE repos DROP CONSTRAINT ck_repos_status;
ALTER TABLE repos ADD CONSTRAINT ck_repos_status CHECK (status IN ('active','suspended','archived','deleted','uninstalled'));
ALTER TABLE stack_codes ADD COLUMN requires JSONB;
ALTER TABLE stack_states ADD COLUMN since timestamptz DEFAULT clock_timestamp() NOT NULL;
ALTER TABLE stack_states ADD COLUMN reason TEXT;
ALTER TABLE stack_states ADD COLUMN successor TEXT;
ALTER TABLE stack_states ADD COLUMN destroy_at timestamptz;
ALTER TABLE stack_states ADD COLUMN destroy_left_s DOUBLE PRECISION;
ALTER TABLE stack_states ADD COLUMN waived_by TEXT;
ALTER TABLE stack_states ADD CONSTRAINT fk_stack_states_successor FOREIGN KEY(successor) REFERENCES stack_codes (id) ON DELETE RESTRICT;
ALTER TABLE stack_states ADD CONSTRAINT fk_stack_states_waived_by FOREIGN KEY(waived_by) REFERENCES identities (id) ON DELETE RESTRICT;
ALTER TABLE stack_states ADD CONSTRAINT ck_stack_states_waived_by_a_person CHECK (status <> 'waived' OR waived_by IS NOT NULL);
CREATE INDEX ix_stack_states_successor ON stack_states (successor) WHERE successor IS NOT NULL;
CREATE INDEX ix_stack_states_destroy_at ON stack_states (destroy_at) WHERE destroy_at IS NOT NULL;
CREATE INDEX ix_stack_codes_loose ON stack_codes (id) WHERE status = 'loose';
