-- owners by number, taken back.
ALTER TABLE repos DROP COLUMN owner_id;
