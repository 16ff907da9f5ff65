-- deliveries of a repository, taken back.
DROP INDEX ix_deliveries_received_at;
DROP INDEX ix_deliveries_repo_received_at;
