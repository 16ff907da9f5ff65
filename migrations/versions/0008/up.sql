-- How an attempt ended that has no outcome. Statements end with a semicolon at the end of a line.
ALTER TABLE steps ADD COLUMN gone_by TEXT;
UPDATE steps SET gone_by = 'died' WHERE status = 'gone';
-- An agent that was stopped called its step cancelled; where nobody cancelled, the run goes on.
UPDATE steps s SET status = 'gone', gone_by = 'stopped', outcome = NULL FROM operations o WHERE o.id = s.operation AND s.status = 'done' AND s.outcome->>'slug' = 'cancelled' AND NOT o.cancel_requested AND o.status NOT IN ('succeeded','failed','cancelled','rejected','superseded');
ALTER TABLE steps ADD CONSTRAINT ck_steps_gone_by CHECK (gone_by IN ('stopped','cut_off','died'));
ALTER TABLE steps ADD CONSTRAINT ck_steps_gone_by_when_gone CHECK ((status = 'gone') = (gone_by IS NOT NULL));
