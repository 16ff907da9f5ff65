-- numbers, taken back.
ALTER TABLE deliveries DROP COLUMN about;
ALTER TABLE deliveries DROP COLUMN about_name;
ALTER TABLE connections DROP COLUMN confirmed_at;
ALTER TABLE repos DROP COLUMN former_default;
