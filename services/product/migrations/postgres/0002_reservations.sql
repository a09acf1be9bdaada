-- Stock promised to payments; the id is the payment's. Closed: nothing can be held under this id any more, also when
-- it never had a line (it was released before it was made).
CREATE TABLE reservations (
    id         UUID   PRIMARY KEY,
    state      TEXT   NOT NULL CHECK (state IN ('open', 'closed')),
    created_at BIGINT NOT NULL, -- unix milliseconds
    updated_at BIGINT NOT NULL
);

-- No reference to products: a line outlives the product it was sold from.
CREATE TABLE reservation_lines (
    reservation_id UUID   NOT NULL REFERENCES reservations (id),
    product_id     BIGINT NOT NULL,
    quantity       BIGINT NOT NULL CHECK (quantity > 0),
    state          TEXT   NOT NULL CHECK (state IN ('held', 'sold', 'released')),
    restocked      BIGINT NOT NULL DEFAULT 0, -- sold units that came back
    PRIMARY KEY (reservation_id, product_id),
    CONSTRAINT no_more_back_than_sold CHECK (0 <= restocked AND restocked <= quantity)
);
