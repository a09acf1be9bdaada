-- Which operation a key was taken for, and which run holds it now.
ALTER TABLE idempotency_keys ADD COLUMN method TEXT; -- as gRPC calls it; null from versions that did not keep it
ALTER TABLE idempotency_keys ADD COLUMN owner  BLOB; -- another id with every run
