-- Answers given under an Idempotency-Key, and requests still being answered.
CREATE TABLE idempotency_keys (
    idempotency_key TEXT    PRIMARY KEY,
    fingerprint     BLOB    NOT NULL, -- SHA-256 of the request
    operation       BLOB    NOT NULL, -- the id under which the work is done, the same on every attempt
    created_at      INTEGER NOT NULL, -- unix milliseconds
    leased_until    INTEGER NOT NULL, -- unix milliseconds; a later attempt may take over from then on
    status          INTEGER,          -- null while in flight
    headers         TEXT,             -- JSON: [[name, value], …]
    body            BLOB
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_keys_created_at ON idempotency_keys (created_at);
