-- What admins did, limits of keys beside those of their account, how many requests
-- an account may have at a time, and who may see a model.

-- +goose Up

-- Rows are added in the transaction of the change that they tell of, and never
-- changed. Actors and targets may go before their entries do.
CREATE TABLE audit_log (
    id          TEXT        NOT NULL PRIMARY KEY,
    actor_id    TEXT        NOT NULL,
    api_key_id  TEXT,
    address     TEXT,
    request_id  TEXT,
    action      TEXT        NOT NULL,
    target_type TEXT        NOT NULL,
    target_id   TEXT,
    before      JSONB,
    after       JSONB,
    created_at  TIMESTAMPTZ NOT NULL
);
CREATE INDEX audit_log_actor ON audit_log (actor_id, id);
CREATE INDEX audit_log_action ON audit_log (action, id);
CREATE INDEX audit_log_target ON audit_log (target_type, target_id, id);
CREATE INDEX audit_log_created ON audit_log (created_at);

ALTER TABLE api_keys ADD COLUMN limits JSONB NOT NULL DEFAULT '{}';
ALTER TABLE plans ADD COLUMN concurrency BIGINT;
ALTER TABLE models ADD COLUMN visible_tiers JSONB NOT NULL DEFAULT '[]';
ALTER TABLE models ADD COLUMN visible_groups JSONB NOT NULL DEFAULT '[]';

-- +goose Down

ALTER TABLE models DROP COLUMN visible_groups;
ALTER TABLE models DROP COLUMN visible_tiers;
ALTER TABLE plans DROP COLUMN concurrency;
ALTER TABLE api_keys DROP COLUMN limits;
DROP TABLE audit_log;
