-- Money that comes in: payments, subscriptions to a plan, and codes to redeem.

-- +goose Up

CREATE TABLE payments (
    id          TEXT        NOT NULL PRIMARY KEY,
    user_id     TEXT        NOT NULL,
    provider    TEXT        NOT NULL,
    kind        TEXT        NOT NULL,
    status      TEXT        NOT NULL,
    amount      BIGINT      NOT NULL,
    credit      BIGINT      NOT NULL,
    refunded    BIGINT      NOT NULL DEFAULT 0,
    tier        TEXT,
    -- The provider's names for it: what was asked for, and the charge that came of it.
    external_id TEXT,
    charge_id   TEXT,
    failure     TEXT,
    note        TEXT        NOT NULL DEFAULT '',
    actor_id    TEXT        NOT NULL,
    created_at  TIMESTAMPTZ NOT NULL,
    updated_at  TIMESTAMPTZ NOT NULL
);
CREATE INDEX payments_user ON payments (user_id, id);
CREATE UNIQUE INDEX payments_external ON payments (provider, external_id) WHERE external_id IS NOT NULL;
CREATE INDEX payments_charge ON payments (charge_id) WHERE charge_id IS NOT NULL;

CREATE TABLE payment_customers (
    user_id     TEXT        NOT NULL PRIMARY KEY,
    customer_id TEXT        NOT NULL UNIQUE,
    created_at  TIMESTAMPTZ NOT NULL
);

-- Why an account has a tier above free, and until when.
CREATE TABLE subscriptions (
    user_id     TEXT        NOT NULL PRIMARY KEY,
    provider    TEXT        NOT NULL,
    external_id TEXT        NOT NULL,
    tier        TEXT        NOT NULL,
    status      TEXT        NOT NULL,
    period_end  TIMESTAMPTZ,
    grace_until TIMESTAMPTZ,
    -- When the provider said so: what is older changes nothing.
    said_at     TIMESTAMPTZ NOT NULL,
    created_at  TIMESTAMPTZ NOT NULL,
    updated_at  TIMESTAMPTZ NOT NULL
);

-- The provider's events that were taken, so that each counts once.
CREATE TABLE payment_events (
    id         TEXT        NOT NULL PRIMARY KEY,
    created_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX payment_events_created ON payment_events (created_at);

CREATE TABLE redeem_codes (
    id         TEXT        NOT NULL PRIMARY KEY,
    hash       TEXT        NOT NULL UNIQUE,
    display    TEXT        NOT NULL,
    batch      TEXT        NOT NULL,
    credit     BIGINT      NOT NULL,
    tier       TEXT,
    tier_days  BIGINT      NOT NULL DEFAULT 0,
    uses       BIGINT      NOT NULL DEFAULT 0,
    max_uses   BIGINT      NOT NULL,
    note       TEXT        NOT NULL,
    expires_at TIMESTAMPTZ,
    disabled_at TIMESTAMPTZ,
    actor_id   TEXT        NOT NULL,
    created_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX redeem_codes_batch ON redeem_codes (batch);

CREATE TABLE redemptions (
    code_id    TEXT        NOT NULL,
    user_id    TEXT        NOT NULL,
    payment_id TEXT        NOT NULL,
    created_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (code_id, user_id)
);

-- +goose Down

DROP TABLE redemptions;
DROP TABLE redeem_codes;
DROP TABLE payment_events;
DROP TABLE subscriptions;
DROP TABLE payment_customers;
DROP TABLE payments;
