-- Whether a payment's units are on the shelf again though the refund that brought them came back, and when the provider is next asked
-- whether a refund that is paid arrived. Of refunds of versions before nobody asks: the provider calls.
ALTER TABLE payments
    ADD COLUMN IF NOT EXISTS restocked BOOLEAN NULL;
ALTER TABLE refunds
    ADD COLUMN IF NOT EXISTS look_at BIGINT NULL;
CREATE INDEX IF NOT EXISTS refunds_look ON refunds (look_at);
