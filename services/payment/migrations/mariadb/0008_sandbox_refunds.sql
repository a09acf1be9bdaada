-- What the sandbox provider paid back, once per key.
CREATE TABLE sandbox_refunds (
    refund_key BINARY(16) NOT NULL PRIMARY KEY,
    charge_key BINARY(16) NOT NULL,
    amount     BIGINT     NOT NULL CHECK (amount > 0),
    created_at BIGINT     NOT NULL,
    KEY sandbox_refunds_charge (charge_key)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
