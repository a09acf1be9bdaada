-- One row a receiver of an event. All times are unix milliseconds.
CREATE TABLE notifications (
    id              UUID         PRIMARY KEY, -- UUIDv7: sorted by id is sorted by time
    event_id        UUID         NOT NULL,
    event_type      VARCHAR(64)  NOT NULL,
    user_id         VARCHAR(128) NOT NULL,
    payment_id      UUID         NOT NULL,
    channel         VARCHAR(16)  NOT NULL,
    target          VARCHAR(320) NOT NULL,    -- an address, an endpoint's id, 'settings' or 'log'
    status          VARCHAR(16)  NOT NULL,
    attempts        BIGINT       NOT NULL,
    due_at          BIGINT       NOT NULL,    -- while sending: when its process is taken for dead
    give_up_at      BIGINT       NOT NULL,
    failure_code    VARCHAR(64),
    failure_message TEXT,
    payload         TEXT         NOT NULL,    -- the event as it came
    headers         TEXT         NOT NULL,    -- JSON: [[name, value], …]
    version         BIGINT       NOT NULL,
    created_at      BIGINT       NOT NULL,
    updated_at      BIGINT       NOT NULL,
    sent_at         BIGINT,
    UNIQUE (event_id, channel, target)
);
CREATE INDEX notifications_due ON notifications (channel, due_at) WHERE status IN ('pending', 'sending');
CREATE INDEX notifications_user ON notifications (user_id, id);
CREATE INDEX notifications_status ON notifications (status, id);
CREATE INDEX notifications_channel ON notifications (channel, id);
CREATE INDEX notifications_finished ON notifications (status, updated_at);

-- What users said they want; who is not here said nothing.
CREATE TABLE preferences (
    user_id       VARCHAR(128) PRIMARY KEY,
    email         VARCHAR(254),
    email_enabled BIGINT       NOT NULL, -- 0 or 1
    event_types   TEXT         NOT NULL, -- with commas between
    version       BIGINT       NOT NULL,
    updated_at    BIGINT       NOT NULL
);

-- Where webhooks go.
CREATE TABLE webhook_endpoints (
    id               UUID          PRIMARY KEY,
    url              VARCHAR(2048) NOT NULL,
    description      VARCHAR(200)  NOT NULL,
    event_types      TEXT          NOT NULL, -- with commas between
    enabled          BIGINT        NOT NULL, -- 0 or 1
    disabled_reason  TEXT,
    secret           TEXT          NOT NULL,
    old_secret       TEXT,
    old_secret_until BIGINT,
    version          BIGINT        NOT NULL,
    created_at       BIGINT        NOT NULL,
    updated_at       BIGINT        NOT NULL
);
