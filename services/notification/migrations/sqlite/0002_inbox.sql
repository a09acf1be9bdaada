-- Ids of the events whose effect is in this database.
CREATE TABLE inbox (
    event_id    BLOB    PRIMARY KEY,
    received_at INTEGER NOT NULL -- unix milliseconds
) STRICT, WITHOUT ROWID;
CREATE INDEX inbox_received_at ON inbox (received_at);
