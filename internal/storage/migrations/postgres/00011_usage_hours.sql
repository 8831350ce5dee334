-- Usage by the hour, and the answers kept for Idempotency-Key. See the file of
-- the same number for SQLite, which says what the tables are.

-- +goose Up

CREATE TABLE usage_hours (
    hour    BIGINT NOT NULL PRIMARY KEY,
    version BIGINT NOT NULL,
    size    BIGINT NOT NULL,
    data    BYTEA  NOT NULL
);
CREATE INDEX usage_hours_version ON usage_hours (hour, version, size);

-- barrier is a transaction id: all that began before sealed_until was set have
-- ended when no lower one runs. Null: not known yet.
CREATE TABLE usage_rollup (
    id           BIGINT      NOT NULL PRIMARY KEY,
    rolled_until TIMESTAMPTZ NOT NULL,
    sealed_until TIMESTAMPTZ NOT NULL,
    barrier      BIGINT,
    version      BIGINT      NOT NULL
);
INSERT INTO usage_rollup VALUES (1, '2000-01-01 00:00:00+00:00', '2000-01-01 00:00:00+00:00', NULL, 1);

CREATE TABLE usage_late (
    hour BIGINT NOT NULL PRIMARY KEY,
    n    BIGINT NOT NULL
);

-- +goose StatementBegin
CREATE FUNCTION usage_records_late() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    sealed TIMESTAMPTZ := (SELECT sealed_until FROM usage_rollup);
BEGIN
    IF EXISTS (SELECT 1 FROM changed WHERE created_at < sealed) THEN
        INSERT INTO usage_late
            SELECT floor(extract(epoch FROM created_at) / 3600)::bigint AS hour, 1
            FROM changed WHERE created_at < sealed GROUP BY 1 ORDER BY 1
            ON CONFLICT (hour) DO UPDATE SET n = usage_late.n + 1;
    END IF;
    RETURN NULL;
END $$;
-- +goose StatementEnd

CREATE TRIGGER usage_records_late_insert AFTER INSERT ON usage_records
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION usage_records_late();
CREATE TRIGGER usage_records_late_delete AFTER DELETE ON usage_records
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION usage_records_late();

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
DROP TRIGGER usage_records_late_delete ON usage_records;
DROP TRIGGER usage_records_late_insert ON usage_records;
DROP FUNCTION usage_records_late();
DROP TABLE usage_late;
DROP TABLE usage_rollup;
DROP TABLE usage_hours;
