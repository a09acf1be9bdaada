-- The basket that a payment claims: no two can. Empty when the payment is over, or what it paid for has left the basket.
ALTER TABLE payments ADD COLUMN open_basket BLOB;
ALTER TABLE payments ADD COLUMN replaces BLOB; -- the payment whose place it took
CREATE UNIQUE INDEX payments_open_basket ON payments (open_basket);
