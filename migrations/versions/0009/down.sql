-- ended agents, taken back.
ALTER TABLE agents DROP COLUMN reason;
