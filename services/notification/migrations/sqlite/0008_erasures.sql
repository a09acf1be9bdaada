-- Who was forgotten and when, so that no event from before tells of him again; kept as long as such an event may come.
CREATE TABLE erasures (
    person    TEXT    PRIMARY KEY, -- SHA-256 of the user id, in hexadecimal
    erased_at INTEGER NOT NULL     -- unix milliseconds
) STRICT;
