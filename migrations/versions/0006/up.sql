-- deliveries of a repository. Statements end with a semicolon at the end of a line.
-- A sync asks for the newest of its repository: among all that ever arrived they are found by index, and old ones go.
UPDATE deliveries d SET repo = h.repo FROM hooks h WHERE h.id = d.hook AND d.repo IS NULL AND h.repo IS NOT NULL;
CREATE INDEX ix_deliveries_repo_received_at ON deliveries (repo, received_at);
CREATE INDEX ix_deliveries_received_at ON deliveries USING brin (received_at);
