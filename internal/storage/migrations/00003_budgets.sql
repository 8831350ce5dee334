-- Money that can run out, attempts that hold a part of it, and prices with dates.

-- +goose Up

-- One row for each attempt that an upstream works on. The row goes when its
-- usage record comes, in one transaction, so the table stays as small as the load.
CREATE TABLE usage_holds (
    id                TEXT        NOT NULL PRIMARY KEY,
    request_id        TEXT        NOT NULL,
    user_id           TEXT        NOT NULL,
    api_key_id        TEXT        NOT NULL,
    channel_id        TEXT        NOT NULL,
    model             TEXT        NOT NULL,
    upstream_model    TEXT        NOT NULL,
    operation         TEXT        NOT NULL,
    stream            BOOLEAN     NOT NULL,
    prompt_tokens     BIGINT      NOT NULL,
    completion_tokens BIGINT      NOT NULL,
    cost              BIGINT      NOT NULL,
    metered           BOOLEAN     NOT NULL,
    held              BIGINT      NOT NULL,
    created_at        TIMESTAMPTZ NOT NULL,
    lease_until       TIMESTAMPTZ NOT NULL
);

INSERT INTO usage_holds
    SELECT id, request_id, user_id, api_key_id, channel_id, model, upstream_model, operation, stream,
           prompt_tokens, completion_tokens, cost, FALSE, 0, created_at, lease_until
    FROM usage_records WHERE status = 'pending';
DELETE FROM usage_records WHERE status = 'pending';

DROP INDEX usage_records_pending;
ALTER TABLE usage_records DROP COLUMN lease_until;
ALTER TABLE usage_records ADD COLUMN estimated_prompt_tokens BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage_records ADD COLUMN estimated_completion_tokens BIGINT NOT NULL DEFAULT 0;

-- Owners are users and API keys; both may go before their records do.
CREATE TABLE budgets (
    owner  TEXT        NOT NULL,
    period TEXT        NOT NULL,
    amount BIGINT      NOT NULL,
    spent  BIGINT      NOT NULL,
    held   BIGINT      NOT NULL,
    since  TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (owner, period)
);

CREATE TABLE balance_entries (
    id         TEXT        NOT NULL PRIMARY KEY,
    user_id    TEXT        NOT NULL,
    actor_id   TEXT        NOT NULL,
    amount     BIGINT      NOT NULL,
    balance    BIGINT      NOT NULL,
    note       TEXT        NOT NULL,
    created_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX balance_entries_user ON balance_entries (user_id, id);

ALTER TABLE api_keys ADD COLUMN on_disconnect TEXT NOT NULL DEFAULT 'cancel';

CREATE TABLE model_prices (
    model          TEXT        NOT NULL,
    source         TEXT        NOT NULL,
    effective_from TIMESTAMPTZ NOT NULL,
    pricing        JSONB,
    PRIMARY KEY (model, source, effective_from)
);

INSERT INTO model_prices
    SELECT name, 'admin', COALESCE(created_at, '2000-01-01 00:00:00+00:00'), pricing FROM models WHERE pricing IS NOT NULL;
ALTER TABLE models DROP COLUMN pricing;

-- +goose Down

ALTER TABLE models ADD COLUMN pricing JSONB;
DROP TABLE model_prices;
ALTER TABLE api_keys DROP COLUMN on_disconnect;
DROP TABLE balance_entries;
DROP TABLE budgets;
ALTER TABLE usage_records DROP COLUMN estimated_completion_tokens;
ALTER TABLE usage_records DROP COLUMN estimated_prompt_tokens;
ALTER TABLE usage_records ADD COLUMN lease_until TIMESTAMPTZ NOT NULL DEFAULT '2000-01-01 00:00:00+00:00';
CREATE INDEX usage_records_pending ON usage_records (lease_until) WHERE status = 'pending';
DROP TABLE usage_holds;
