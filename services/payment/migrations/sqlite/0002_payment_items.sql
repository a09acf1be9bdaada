-- What a payment is for, at the price of the moment. The key keeps a payment's lines together and in order.
CREATE TABLE payment_items (
    payment_id BLOB    NOT NULL REFERENCES payments (id),
    position   INTEGER NOT NULL,
    id         BLOB    NOT NULL,
    product_id INTEGER NOT NULL,
    name       TEXT    NOT NULL,
    quantity   INTEGER NOT NULL CHECK (quantity > 0),
    price      INTEGER NOT NULL,
    subtotal   INTEGER NOT NULL,
    category   TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (payment_id, position)
) STRICT, WITHOUT ROWID;
