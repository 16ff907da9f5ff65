-- warnings of a stack's files. Statements end with a semicolon at the end of a line.
-- What cannot be read of a module costs a warning; Terraform judges it at the run's plan.
ALTER TABLE stack_codes ADD COLUMN warnings jsonb NOT NULL DEFAULT '[]';
