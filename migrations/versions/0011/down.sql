-- warnings of a stack's files, taken back.
ALTER TABLE stack_codes DROP COLUMN warnings;
