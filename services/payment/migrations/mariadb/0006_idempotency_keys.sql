-- Answers given under an Idempotency-Key, and requests still being answered.
CREATE TABLE idempotency_keys (
    idempotency_key VARCHAR(512) NOT NULL PRIMARY KEY,
    fingerprint     BINARY(32)   NOT NULL, -- SHA-256 of the request
    operation       BINARY(16)   NOT NULL, -- the id under which the work is done, the same on every attempt
    created_at      BIGINT       NOT NULL, -- unix milliseconds
    leased_until    BIGINT       NOT NULL, -- unix milliseconds; a later attempt may take over from then on
    status          SMALLINT     NULL,     -- null while in flight
    headers         TEXT         NULL,     -- JSON: [[name, value], …]
    body            MEDIUMBLOB   NULL,
    KEY idempotency_keys_created_at (created_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
