-- Payments. Ids are UUIDv7, so the order of ids is the order of making; times are unix milliseconds; amounts are minor
-- units of `currency`.
CREATE TABLE payments (
    id              BINARY(16)    NOT NULL PRIMARY KEY,
    user_id         VARCHAR(128)  NOT NULL,
    basket_id       BINARY(16)    NOT NULL,
    amount          BIGINT        NOT NULL CHECK (amount >= 0),
    currency        CHAR(3)       NOT NULL,
    status          VARCHAR(20)   NOT NULL,
    method          VARCHAR(20)   NOT NULL,
    provider        VARCHAR(50)   NOT NULL,
    provider_id     VARCHAR(255)  NULL,
    description     VARCHAR(1000) NULL,
    metadata        MEDIUMTEXT    NOT NULL, -- JSON object of strings
    failure_code    VARCHAR(100)  NULL,
    failure_message VARCHAR(500)  NULL,
    operation       BINARY(16)    NULL,     -- the request that moved it out of pending
    created_at      BIGINT        NOT NULL,
    updated_at      BIGINT        NOT NULL,
    processed_at    BIGINT        NULL,
    expires_at      BIGINT        NOT NULL,
    version         BIGINT        NOT NULL,
    KEY payments_user (user_id, id),
    KEY payments_status (status, id),
    KEY payments_expiry (status, expires_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
