-- Which operation a key was taken for, and which run holds it now.
ALTER TABLE idempotency_keys
    ADD COLUMN IF NOT EXISTS method VARCHAR(64) NULL, -- as gRPC calls it; null from versions that did not keep it
    ADD COLUMN IF NOT EXISTS owner  BINARY(16)  NULL; -- another id with every run
