-- Answers given under an Idempotency-Key, and requests still being answered.
CREATE TABLE idempotency_keys (
    idempotency_key VARCHAR(512) PRIMARY KEY,
    fingerprint     BYTEA    NOT NULL, -- SHA-256 of the request
    operation       UUID     NOT NULL, -- the id under which the work is done, the same on every attempt
    created_at      BIGINT   NOT NULL, -- unix milliseconds
    leased_until    BIGINT   NOT NULL, -- unix milliseconds; a later attempt may take over from then on
    status          SMALLINT,          -- null while in flight
    headers         TEXT,              -- JSON: [[name, value], …]
    body            BYTEA
);
CREATE INDEX idempotency_keys_created_at ON idempotency_keys (created_at);
