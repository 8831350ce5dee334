-- One set of files serves SQLite and PostgreSQL: only statements and the types
-- TEXT, BIGINT, BOOLEAN, JSONB, BYTEA and TIMESTAMPTZ that both know.

-- +goose Up

CREATE TABLE plans (
    id                  TEXT   NOT NULL PRIMARY KEY,
    tier                TEXT   NOT NULL,
    requests_per_minute BIGINT NOT NULL,
    requests_per_hour   BIGINT NOT NULL,
    requests_per_day    BIGINT NOT NULL
);
CREATE UNIQUE INDEX plans_tier ON plans (tier);

INSERT INTO plans (id, tier, requests_per_minute, requests_per_hour, requests_per_day) VALUES
    ('plan_free',       'free',         60,  1000,   10000),
    ('plan_pro',        'pro',         300, 10000,  100000),
    ('plan_enterprise', 'enterprise', 1000, 50000, 1000000);

CREATE TABLE users (
    id         TEXT        NOT NULL PRIMARY KEY,
    email      TEXT        NOT NULL,
    name       TEXT        NOT NULL,
    avatar_url TEXT,
    role       TEXT        NOT NULL,
    tier       TEXT        NOT NULL,
    status     TEXT        NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);
CREATE UNIQUE INDEX users_email ON users (email);

CREATE TABLE api_keys (
    id                  TEXT        NOT NULL PRIMARY KEY,
    user_id             TEXT        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name                TEXT        NOT NULL,
    display             TEXT        NOT NULL,
    hash                BYTEA       NOT NULL,
    scopes              JSONB       NOT NULL,
    allowed_models      JSONB       NOT NULL,
    allowed_cidrs       JSONB       NOT NULL,
    expires_at          TIMESTAMPTZ,
    revoked_at          TIMESTAMPTZ,
    last_used_at        TIMESTAMPTZ,
    created_at          TIMESTAMPTZ NOT NULL,
    previous_hash       BYTEA,
    previous_expires_at TIMESTAMPTZ
);
CREATE UNIQUE INDEX api_keys_hash ON api_keys (hash);
CREATE INDEX api_keys_previous_hash ON api_keys (previous_hash) WHERE previous_hash IS NOT NULL;
CREATE INDEX api_keys_user ON api_keys (user_id, id);

CREATE TABLE channels (
    id                TEXT        NOT NULL PRIMARY KEY,
    name              TEXT        NOT NULL,
    type              TEXT        NOT NULL,
    base_url          TEXT        NOT NULL,
    models            JSONB       NOT NULL,
    model_mapping     JSONB       NOT NULL,
    priority          BIGINT      NOT NULL,
    weight            BIGINT      NOT NULL,
    enabled           BOOLEAN     NOT NULL,
    limits            JSONB       NOT NULL,
    settings          JSONB       NOT NULL,
    sealed_credential BYTEA,
    key_hint          TEXT,
    created_at        TIMESTAMPTZ NOT NULL,
    updated_at        TIMESTAMPTZ NOT NULL
);

CREATE TABLE models (
    name              TEXT  NOT NULL PRIMARY KEY,
    display_name      TEXT  NOT NULL,
    owned_by          TEXT  NOT NULL,
    context_window    BIGINT,
    max_output_tokens BIGINT,
    capabilities      JSONB NOT NULL,
    aliases           JSONB NOT NULL,
    pricing           JSONB,
    created_at        TIMESTAMPTZ,
    updated_at        TIMESTAMPTZ
);

-- Rows outlive the users, keys and channels that they name, so they refer to none.
CREATE TABLE usage_records (
    id                TEXT        NOT NULL PRIMARY KEY,
    request_id        TEXT        NOT NULL,
    user_id           TEXT        NOT NULL,
    api_key_id        TEXT        NOT NULL,
    channel_id        TEXT        NOT NULL,
    model             TEXT        NOT NULL,
    upstream_model    TEXT        NOT NULL,
    stream            BOOLEAN     NOT NULL,
    status            TEXT        NOT NULL,
    error_code        TEXT        NOT NULL,
    prompt_tokens     BIGINT      NOT NULL,
    completion_tokens BIGINT      NOT NULL,
    cached_tokens     BIGINT      NOT NULL,
    reasoning_tokens  BIGINT      NOT NULL,
    estimated         BOOLEAN     NOT NULL,
    cost              BIGINT      NOT NULL,
    latency_ms        BIGINT      NOT NULL,
    ttft_ms           BIGINT      NOT NULL,
    created_at        TIMESTAMPTZ NOT NULL,
    settled_at        TIMESTAMPTZ,
    lease_until       TIMESTAMPTZ NOT NULL
);
CREATE INDEX usage_records_user ON usage_records (user_id, created_at);
CREATE INDEX usage_records_created ON usage_records (created_at);
CREATE INDEX usage_records_pending ON usage_records (lease_until) WHERE status = 'pending';

CREATE TABLE revisions (
    topic TEXT   NOT NULL PRIMARY KEY,
    n     BIGINT NOT NULL
);

CREATE TABLE leases (
    name       TEXT        NOT NULL PRIMARY KEY,
    holder     TEXT        NOT NULL,
    expires_at TIMESTAMPTZ NOT NULL
);

-- +goose Down

DROP TABLE leases;
DROP TABLE revisions;
DROP TABLE usage_records;
DROP TABLE models;
DROP TABLE channels;
DROP TABLE api_keys;
DROP TABLE users;
DROP TABLE plans;
