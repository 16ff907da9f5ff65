-- ended agents. Statements end with a semicolon at the end of a line.
ALTER TABLE agents ADD COLUMN reason text;
