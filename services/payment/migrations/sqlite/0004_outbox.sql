-- Events that are decided but not yet acknowledged by the bus, oldest first.
-- AUTOINCREMENT: an id is never used twice, so the order survives an empty table.
CREATE TABLE outbox (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id     BLOB    NOT NULL,
    topic        TEXT    NOT NULL,
    message_key  TEXT    NOT NULL,
    headers      TEXT    NOT NULL, -- JSON: [[name, value], …], as handed to the bus
    payload      BLOB    NOT NULL,
    created_at   INTEGER NOT NULL  -- unix milliseconds
) STRICT;
