-- One row a receiver of an event. All times are unix milliseconds.
CREATE TABLE notifications (
    id              BLOB    PRIMARY KEY, -- UUIDv7: sorted by id is sorted by time
    event_id        BLOB    NOT NULL,
    event_type      TEXT    NOT NULL,
    user_id         TEXT    NOT NULL,
    payment_id      BLOB    NOT NULL,
    channel         TEXT    NOT NULL,
    target          TEXT    NOT NULL, -- an address, an endpoint's id, 'settings' or 'log'
    status          TEXT    NOT NULL,
    attempts        INTEGER NOT NULL,
    due_at          INTEGER NOT NULL, -- while sending: when its process is taken for dead
    give_up_at      INTEGER NOT NULL,
    failure_code    TEXT,
    failure_message TEXT,
    payload         TEXT    NOT NULL, -- the event as it came
    headers         TEXT    NOT NULL, -- JSON: [[name, value], …]
    version         INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    sent_at         INTEGER,
    UNIQUE (event_id, channel, target)
) STRICT;
CREATE INDEX notifications_due ON notifications (channel, due_at) WHERE status IN ('pending', 'sending');
CREATE INDEX notifications_user ON notifications (user_id, id);
CREATE INDEX notifications_status ON notifications (status, id);
CREATE INDEX notifications_channel ON notifications (channel, id);
CREATE INDEX notifications_finished ON notifications (status, updated_at);

-- What users said they want; who is not here said nothing.
CREATE TABLE preferences (
    user_id         TEXT    PRIMARY KEY,
    email           TEXT,
    email_enabled   INTEGER NOT NULL, -- 0 or 1
    event_types     TEXT    NOT NULL, -- with commas between
    version         INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL
) STRICT;

-- Where webhooks go.
CREATE TABLE webhook_endpoints (
    id              BLOB    PRIMARY KEY,
    url             TEXT    NOT NULL,
    description     TEXT    NOT NULL,
    event_types     TEXT    NOT NULL, -- with commas between
    enabled         INTEGER NOT NULL, -- 0 or 1
    disabled_reason TEXT,
    secret          TEXT    NOT NULL,
    old_secret      TEXT,
    old_secret_until INTEGER,
    version         INTEGER NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL
) STRICT;
