-- Payments. Ids are UUIDv7, so the order of ids is the order of making; times are unix milliseconds; amounts are minor
-- units of `currency`.
CREATE TABLE payments (
    id              BLOB    PRIMARY KEY,
    user_id         TEXT    NOT NULL,
    basket_id       BLOB    NOT NULL,
    amount          INTEGER NOT NULL CHECK (amount >= 0),
    currency        TEXT    NOT NULL,
    status          TEXT    NOT NULL,
    method          TEXT    NOT NULL,
    provider        TEXT    NOT NULL,
    provider_id     TEXT,
    description     TEXT,
    metadata        TEXT    NOT NULL, -- JSON object of strings
    failure_code    TEXT,
    failure_message TEXT,
    operation       BLOB,             -- the request that moved it out of pending
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    processed_at    INTEGER,
    expires_at      INTEGER NOT NULL,
    version         INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX payments_user ON payments (user_id, id);
CREATE INDEX payments_status ON payments (status, id);
CREATE INDEX payments_expiry ON payments (status, expires_at);
