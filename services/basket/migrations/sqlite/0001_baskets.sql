-- One basket per user.
CREATE TABLE baskets (
    id         BLOB    PRIMARY KEY,
    user_id    TEXT    NOT NULL UNIQUE,
    total      INTEGER NOT NULL CHECK (total >= 0), -- minor units, for people; the service sums the lines
    currency   TEXT    NOT NULL,
    version    INTEGER NOT NULL,
    created_at INTEGER NOT NULL, -- unix milliseconds
    updated_at INTEGER NOT NULL, -- unix milliseconds
    expires_at INTEGER NOT NULL  -- unix milliseconds; from then on the row counts as gone
) STRICT;
CREATE INDEX baskets_expires_at ON baskets (expires_at);
