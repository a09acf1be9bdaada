-- The sandbox provider's own books: they stand for what a real provider keeps elsewhere, and only it touches them.
-- One row per key, for ever: what came of the first charge, or `void` when it was told to refuse one.
CREATE TABLE sandbox_charges (
    charge_key BINARY(16)   NOT NULL PRIMARY KEY,
    outcome    VARCHAR(20)  NOT NULL,
    code       VARCHAR(100) NULL,
    message    VARCHAR(500) NULL,
    amount     BIGINT       NOT NULL,
    currency   CHAR(3)      NOT NULL,
    attempts   INT          NOT NULL, -- charges asked for under this key
    created_at BIGINT       NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
