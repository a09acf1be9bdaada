-- Who was forgotten and when, so that no event from before tells of him again; kept as long as such an event may come.
CREATE TABLE IF NOT EXISTS erasures (
    person    VARCHAR(64) PRIMARY KEY, -- SHA-256 of the user id, in hexadecimal
    erased_at BIGINT      NOT NULL     -- unix milliseconds
);
