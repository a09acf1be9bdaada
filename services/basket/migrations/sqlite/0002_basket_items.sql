-- The lines of a basket, in the order of their rowids.
CREATE TABLE basket_items (
    id         BLOB    PRIMARY KEY,
    basket_id  BLOB    NOT NULL REFERENCES baskets (id) ON DELETE CASCADE,
    product_id INTEGER NOT NULL,
    name       TEXT    NOT NULL,
    quantity   INTEGER NOT NULL CHECK (quantity BETWEEN 1 AND 999),
    price      INTEGER NOT NULL, -- minor units
    subtotal   INTEGER NOT NULL, -- minor units
    category   TEXT    NOT NULL,
    created_at INTEGER NOT NULL, -- unix milliseconds
    UNIQUE (basket_id, product_id)
) STRICT;
