-- one webhook address for many repositories, taken back.
DROP TABLE connections;
ALTER TABLE deliveries DROP COLUMN repo;
ALTER TABLE hooks DROP COLUMN log_read_to;
DELETE FROM hooks WHERE repo IS NULL;
ALTER TABLE hooks ALTER COLUMN repo SET NOT NULL;
