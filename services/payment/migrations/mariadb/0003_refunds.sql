-- Refunds. One that is `requested` counts against its payment until the provider has settled or refused it.
CREATE TABLE refunds (
    id         BINARY(16)   NOT NULL PRIMARY KEY,
    payment_id BINARY(16)   NOT NULL,
    amount     BIGINT       NOT NULL CHECK (amount > 0),
    reason     VARCHAR(500) NULL,
    restock    BOOLEAN      NOT NULL,
    status     VARCHAR(20)  NOT NULL,
    created_at BIGINT       NOT NULL,
    KEY refunds_payment (payment_id, created_at, id),
    KEY refunds_status (status, created_at),
    CONSTRAINT refunds_payment FOREIGN KEY (payment_id) REFERENCES payments (id)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
