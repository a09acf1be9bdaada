-- Stock promised to payments; the id is the payment's. Closed: nothing can be held under this id any more, also when
-- it never had a line (it was released before it was made).
CREATE TABLE reservations (
    id         BLOB    PRIMARY KEY,
    state      TEXT    NOT NULL CHECK (state IN ('open', 'closed')),
    created_at INTEGER NOT NULL, -- unix milliseconds
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- No reference to products: a line outlives the product it was sold from.
CREATE TABLE reservation_lines (
    reservation_id BLOB    NOT NULL REFERENCES reservations (id),
    product_id     INTEGER NOT NULL,
    quantity       INTEGER NOT NULL CHECK (quantity > 0),
    state          TEXT    NOT NULL CHECK (state IN ('held', 'sold', 'released')),
    restocked      INTEGER NOT NULL DEFAULT 0, -- sold units that came back
    PRIMARY KEY (reservation_id, product_id),
    CONSTRAINT no_more_back_than_sold CHECK (0 <= restocked AND restocked <= quantity)
) STRICT, WITHOUT ROWID;
