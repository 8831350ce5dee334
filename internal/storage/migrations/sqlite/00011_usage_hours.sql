-- Usage by the hour, and the answers kept for Idempotency-Key. See the file of
-- the same number for PostgreSQL.

-- +goose Up

-- hour counts hours since 1970; data is what internal/usage packs a whole hour of
-- usage_records into. The index is for finding out what has changed without
-- reading data.
CREATE TABLE usage_hours (
    hour    BIGINT NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL,
    size    BIGINT NOT NULL,
    data    BYTEA  NOT NULL
);
CREATE INDEX usage_hours_version ON usage_hours (hour, version, size);

-- One row. Records created before rolled_until are in usage_hours, but for the
-- hours in usage_late; one created before sealed_until that comes or goes after
-- that was set puts its hour there, whoever writes it.
CREATE TABLE usage_rollup (
    id           BIGINT      NOT NULL PRIMARY KEY,
    rolled_until TIMESTAMPTZ NOT NULL,
    sealed_until TIMESTAMPTZ NOT NULL,
    barrier      BIGINT,
    version      BIGINT      NOT NULL
);
INSERT INTO usage_rollup VALUES (1, '2000-01-01 00:00:00+00:00', '2000-01-01 00:00:00+00:00', 0, 1);

CREATE TABLE usage_late (
    hour BIGINT NOT NULL PRIMARY KEY,
    n    BIGINT NOT NULL
);

-- +goose StatementBegin
CREATE TRIGGER usage_records_late_insert AFTER INSERT ON usage_records
WHEN NEW.created_at < (SELECT sealed_until FROM usage_rollup)
BEGIN
    INSERT INTO usage_late VALUES (CAST(strftime('%s', NEW.created_at) AS INTEGER) / 3600, 1)
        ON CONFLICT (hour) DO UPDATE SET n = n + 1;
END;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE TRIGGER usage_records_late_delete AFTER DELETE ON usage_records
WHEN OLD.created_at < (SELECT sealed_until FROM usage_rollup)
BEGIN
    INSERT INTO usage_late VALUES (CAST(strftime('%s', OLD.created_at) AS INTEGER) / 3600, 1)
        ON CONFLICT (hour) DO UPDATE SET n = n + 1;
END;
-- +goose StatementEnd

CREATE TABLE idempotency_keys (
    user_id    TEXT        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    key        TEXT        NOT NULL,
    request    BYTEA       NOT NULL,
    holder     TEXT        NOT NULL,
    status     BIGINT      NOT NULL,
    header     JSONB       NOT NULL,
    body       BYTEA,
    expires_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (user_id, key)
);
CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at);

-- +goose Down

DROP TABLE idempotency_keys;
DROP TRIGGER usage_records_late_delete;
DROP TRIGGER usage_records_late_insert;
DROP TABLE usage_late;
DROP TABLE usage_rollup;
DROP TABLE usage_hours;
