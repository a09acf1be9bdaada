-- Ids of the events whose effect is in this database.
CREATE TABLE inbox (
    event_id    BINARY(16) NOT NULL PRIMARY KEY,
    received_at BIGINT     NOT NULL, -- unix milliseconds
    KEY inbox_received_at (received_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
