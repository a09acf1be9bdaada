-- The basket that a payment claims: no two can. Empty when the payment is over, or what it paid for has left the basket.
ALTER TABLE payments
    ADD COLUMN IF NOT EXISTS open_basket BINARY(16) NULL,
    ADD COLUMN IF NOT EXISTS replaces BINARY(16) NULL, -- the payment whose place it took
    ADD UNIQUE KEY IF NOT EXISTS payments_open_basket (open_basket);
