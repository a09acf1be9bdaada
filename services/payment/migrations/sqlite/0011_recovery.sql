-- When recovery looks at what was left behind again, and how often it did; null while it never did. Nothing else writes them.
ALTER TABLE payments ADD COLUMN recover_at INTEGER;
ALTER TABLE payments ADD COLUMN recoveries INTEGER NOT NULL DEFAULT 0;
ALTER TABLE refunds ADD COLUMN recover_at INTEGER;
ALTER TABLE refunds ADD COLUMN recoveries INTEGER NOT NULL DEFAULT 0;
