-- When recovery looks at what was left behind again, and how often it did; null while it never did. Nothing else writes them.
ALTER TABLE payments
    ADD COLUMN IF NOT EXISTS recover_at BIGINT NULL,
    ADD COLUMN IF NOT EXISTS recoveries BIGINT NOT NULL DEFAULT 0;
ALTER TABLE refunds
    ADD COLUMN IF NOT EXISTS recover_at BIGINT NULL,
    ADD COLUMN IF NOT EXISTS recoveries BIGINT NOT NULL DEFAULT 0;
