-- What a payment is waiting for at its provider, and what was taken. Nothing of it is known of payments from before: they were taken
-- at once, in one attempt, and in full.
ALTER TABLE payments ADD COLUMN capture TEXT; -- `manual`; null: with the charge
ALTER TABLE payments ADD COLUMN attempts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE payments ADD COLUMN step TEXT; -- what the provider is asked while it is processing; null: to charge
ALTER TABLE payments ADD COLUMN step_amount INTEGER;
ALTER TABLE payments ADD COLUMN action_url TEXT;
ALTER TABLE payments ADD COLUMN action_until INTEGER;
ALTER TABLE payments ADD COLUMN authorised_until INTEGER;
ALTER TABLE payments ADD COLUMN captured INTEGER;
ALTER TABLE payments ADD COLUMN dispute_amount INTEGER;
ALTER TABLE payments ADD COLUMN dispute_reason TEXT;
ALTER TABLE payments ADD COLUMN dispute_outcome TEXT;
ALTER TABLE refunds ADD COLUMN accepted_at INTEGER; -- since when a requested one is on its way at the provider
ALTER TABLE sandbox_charges ADD COLUMN attempt INTEGER NOT NULL DEFAULT 1;
ALTER TABLE sandbox_charges ADD COLUMN manual INTEGER NOT NULL DEFAULT 0; -- the money is held first
ALTER TABLE sandbox_charges ADD COLUMN due_at INTEGER; -- when the buyer, or his bank, will have done his part
ALTER TABLE sandbox_charges ADD COLUMN ends_at INTEGER; -- when it is let go of
ALTER TABLE sandbox_charges ADD COLUMN captured INTEGER;
ALTER TABLE sandbox_refunds ADD COLUMN due_at INTEGER;
ALTER TABLE sandbox_refunds ADD COLUMN failed INTEGER NOT NULL DEFAULT 0;
