-- The sandbox provider's own books: they stand for what a real provider keeps elsewhere, and only it touches them.
-- One row per key, for ever: what came of the first charge, or `void` when it was told to refuse one.
CREATE TABLE sandbox_charges (
    charge_key BLOB    PRIMARY KEY,
    outcome    TEXT    NOT NULL,
    code       TEXT,
    message    TEXT,
    amount     INTEGER NOT NULL,
    currency   TEXT    NOT NULL,
    attempts   INTEGER NOT NULL, -- charges asked for under this key
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
