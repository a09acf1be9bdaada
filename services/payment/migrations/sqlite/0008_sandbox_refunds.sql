-- What the sandbox provider paid back, once per key.
CREATE TABLE sandbox_refunds (
    refund_key BLOB    PRIMARY KEY,
    charge_key BLOB    NOT NULL,
    amount     INTEGER NOT NULL CHECK (amount > 0),
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sandbox_refunds_charge ON sandbox_refunds (charge_key);
