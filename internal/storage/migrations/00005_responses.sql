-- Answers of the responses API, kept so that later requests can follow them.
-- JSON is kept as bytes: JSONB would reorder keys and refuse \u0000.

-- +goose Up

CREATE TABLE responses (
    id          TEXT        NOT NULL PRIMARY KEY,
    user_id     TEXT        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    model       TEXT        NOT NULL,
    previous_id TEXT,
    status      TEXT        NOT NULL,
    input       BYTEA       NOT NULL,
    output      BYTEA       NOT NULL,
    body        BYTEA       NOT NULL,
    size        BIGINT      NOT NULL,
    created_at  TIMESTAMPTZ NOT NULL,
    expires_at  TIMESTAMPTZ NOT NULL
);
CREATE INDEX responses_user ON responses (user_id, id);
CREATE INDEX responses_expiry ON responses (expires_at);

-- +goose Down

DROP TABLE responses;
