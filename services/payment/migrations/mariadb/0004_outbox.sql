-- Events that are decided but not yet acknowledged by the bus, oldest first.
CREATE TABLE outbox (
    id           BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,
    event_id     BINARY(16)   NOT NULL,
    topic        VARCHAR(200) NOT NULL,
    message_key  VARCHAR(255) NOT NULL,
    headers      TEXT         NOT NULL, -- JSON: [[name, value], …], as handed to the bus
    payload      MEDIUMBLOB   NOT NULL,
    created_at   BIGINT       NOT NULL  -- unix milliseconds
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- The row whose lock makes one relay the active one among all replicas.
CREATE TABLE outbox_relay (
    id INT NOT NULL PRIMARY KEY CHECK (id = 1)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

INSERT INTO outbox_relay (id) VALUES (1);
