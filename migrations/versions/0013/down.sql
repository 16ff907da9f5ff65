-- requests under way, taken back.
DELETE FROM idempotency_keys WHERE status IS NULL;
ALTER TABLE idempotency_keys DROP COLUMN held_until;
ALTER TABLE idempotency_keys DROP COLUMN done;
