-- Refunds. One that is `requested` counts against its payment until the provider has settled or refused it.
CREATE TABLE refunds (
    id         BLOB    PRIMARY KEY,
    payment_id BLOB    NOT NULL REFERENCES payments (id),
    amount     INTEGER NOT NULL CHECK (amount > 0),
    reason     TEXT,
    restock    INTEGER NOT NULL,
    status     TEXT    NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX refunds_payment ON refunds (payment_id, created_at, id);
CREATE INDEX refunds_status ON refunds (status, created_at);
