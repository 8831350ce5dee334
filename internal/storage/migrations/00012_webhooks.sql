-- Endpoints that are told of events, what they were sent, and the periodic jobs'
-- last runs.

-- +goose Up

-- Whom an event concerns; empty for what concerns admins alone.
ALTER TABLE events ADD COLUMN user_id TEXT NOT NULL DEFAULT '';

CREATE TABLE webhook_endpoints (
    id                  TEXT        NOT NULL PRIMARY KEY,
    user_id             TEXT        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    url                 TEXT        NOT NULL,
    description         TEXT        NOT NULL,
    events              JSONB       NOT NULL,
    headers             BYTEA,
    header_names        JSONB       NOT NULL,
    secret              BYTEA       NOT NULL,
    previous_secret     BYTEA,
    previous_expires_at TIMESTAMPTZ,
    admin_events        BOOLEAN     NOT NULL,
    enabled             BOOLEAN     NOT NULL,
    disabled_reason     TEXT,
    disabled_at         TIMESTAMPTZ,
    failures            BIGINT      NOT NULL,
    failing_since       TIMESTAMPTZ,
    paused_until        TIMESTAMPTZ,
    last_failure_at     TIMESTAMPTZ,
    created_at          TIMESTAMPTZ NOT NULL,
    updated_at          TIMESTAMPTZ NOT NULL
);
CREATE INDEX webhook_endpoints_user ON webhook_endpoints (user_id, id);

-- Without foreign keys: an event must commit although an endpoint goes meanwhile.
CREATE TABLE webhook_deliveries (
    id           TEXT        NOT NULL PRIMARY KEY,
    event_id     TEXT        NOT NULL,
    event_type   TEXT        NOT NULL,
    endpoint_id  TEXT        NOT NULL,
    user_id      TEXT        NOT NULL,
    status       TEXT        NOT NULL,
    trigger      TEXT        NOT NULL,
    attempts     BIGINT      NOT NULL,
    tries        BIGINT      NOT NULL,
    due_at       TIMESTAMPTZ NOT NULL,
    lease_until  TIMESTAMPTZ,
    sweep_at     TIMESTAMPTZ NOT NULL,
    last_status  BIGINT,
    last_error   TEXT,
    completed_at TIMESTAMPTZ,
    created_at   TIMESTAMPTZ NOT NULL,
    updated_at   TIMESTAMPTZ NOT NULL,
    UNIQUE (event_id, endpoint_id)
);
CREATE INDEX webhook_deliveries_sweep ON webhook_deliveries (sweep_at, endpoint_id, id) WHERE status IN ('pending', 'inflight');
CREATE INDEX webhook_deliveries_endpoint ON webhook_deliveries (endpoint_id, id);
CREATE INDEX webhook_deliveries_updated ON webhook_deliveries (endpoint_id, updated_at);

CREATE TABLE webhook_attempts (
    delivery_id TEXT        NOT NULL,
    n           BIGINT      NOT NULL,
    trigger     TEXT        NOT NULL,
    status      BIGINT,
    error       TEXT,
    latency_ms  BIGINT      NOT NULL,
    response    TEXT,
    started_at  TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (delivery_id, n)
);

-- Which thresholds of which budget's period were told of.
CREATE TABLE usage_thresholds (
    owner   TEXT        NOT NULL,
    period  TEXT        NOT NULL,
    since   TIMESTAMPTZ NOT NULL,
    percent BIGINT      NOT NULL,
    PRIMARY KEY (owner, period, since, percent)
);

CREATE TABLE jobs (
    name             TEXT        NOT NULL PRIMARY KEY,
    description      TEXT        NOT NULL,
    interval_seconds BIGINT      NOT NULL,
    outcome          TEXT,
    error            TEXT,
    worker           TEXT,
    started_at       TIMESTAMPTZ,
    finished_at      TIMESTAMPTZ,
    requested_at     TIMESTAMPTZ,
    registered_at    TIMESTAMPTZ NOT NULL
);

-- +goose Down

DROP TABLE jobs;
DROP TABLE usage_thresholds;
DROP TABLE webhook_attempts;
DROP TABLE webhook_deliveries;
DROP TABLE webhook_endpoints;
ALTER TABLE events DROP COLUMN user_id;
