-- What a payment is waiting for at its provider, and what was taken. Nothing of it is known of payments from before: they were taken
-- at once, in one attempt, and in full.
ALTER TABLE payments
    ADD COLUMN IF NOT EXISTS capture          VARCHAR(20)   NULL, -- `manual`; null: with the charge
    ADD COLUMN IF NOT EXISTS attempts         BIGINT        NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS step             VARCHAR(20)   NULL, -- what the provider is asked while it is processing; null: to charge
    ADD COLUMN IF NOT EXISTS step_amount      BIGINT        NULL,
    ADD COLUMN IF NOT EXISTS action_url       VARCHAR(2048) NULL,
    ADD COLUMN IF NOT EXISTS action_until     BIGINT        NULL,
    ADD COLUMN IF NOT EXISTS authorised_until BIGINT        NULL,
    ADD COLUMN IF NOT EXISTS captured         BIGINT        NULL,
    ADD COLUMN IF NOT EXISTS dispute_amount   BIGINT        NULL,
    ADD COLUMN IF NOT EXISTS dispute_reason   VARCHAR(500)  NULL,
    ADD COLUMN IF NOT EXISTS dispute_outcome  VARCHAR(20)   NULL;
ALTER TABLE refunds
    ADD COLUMN IF NOT EXISTS accepted_at BIGINT NULL; -- since when a requested one is on its way at the provider
ALTER TABLE sandbox_charges
    ADD COLUMN IF NOT EXISTS attempt  BIGINT  NOT NULL DEFAULT 1,
    ADD COLUMN IF NOT EXISTS manual   BOOLEAN NOT NULL DEFAULT FALSE, -- the money is held first
    ADD COLUMN IF NOT EXISTS due_at   BIGINT  NULL,                   -- when the buyer, or his bank, will have done his part
    ADD COLUMN IF NOT EXISTS ends_at  BIGINT  NULL,                   -- when it is let go of
    ADD COLUMN IF NOT EXISTS captured BIGINT  NULL;
ALTER TABLE sandbox_refunds
    ADD COLUMN IF NOT EXISTS due_at BIGINT  NULL,
    ADD COLUMN IF NOT EXISTS failed BOOLEAN NOT NULL DEFAULT FALSE;
