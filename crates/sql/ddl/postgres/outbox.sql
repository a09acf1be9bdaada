-- Events that are decided but not yet acknowledged by the bus, oldest first.
CREATE TABLE outbox (
    id           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id     UUID   NOT NULL,
    topic        TEXT   NOT NULL,
    message_key  TEXT   NOT NULL,
    headers      TEXT   NOT NULL, -- JSON: [[name, value], …], as handed to the bus
    payload      BYTEA  NOT NULL,
    created_at   BIGINT NOT NULL  -- unix milliseconds
);

-- The row whose lock makes one relay the active one among all replicas.
CREATE TABLE outbox_relay (
    id INTEGER PRIMARY KEY CHECK (id = 1)
);
INSERT INTO outbox_relay (id) VALUES (1);
