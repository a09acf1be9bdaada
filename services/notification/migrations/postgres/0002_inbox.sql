-- Ids of the events whose effect is in this database.
CREATE TABLE inbox (
    event_id    UUID   PRIMARY KEY,
    received_at BIGINT NOT NULL -- unix milliseconds
);
CREATE INDEX inbox_received_at ON inbox (received_at);
