-- Who may use which channel, how a model's channels are chosen, what processes
-- tell each other about channels, and the outbox of events.

-- +goose Up

ALTER TABLE channels ADD COLUMN tags JSONB NOT NULL DEFAULT '[]';
ALTER TABLE channels ADD COLUMN user_groups JSONB NOT NULL DEFAULT '[]';
ALTER TABLE channels ADD COLUMN key_hints JSONB;
ALTER TABLE users ADD COLUMN user_groups JSONB NOT NULL DEFAULT '[]';
ALTER TABLE api_keys ADD COLUMN channel_tags JSONB NOT NULL DEFAULT '[]';
ALTER TABLE models ADD COLUMN routing TEXT;

-- credential is a place in the channel's list of credentials; -1 stands for the
-- channel as a whole. rests_until is set while it is kept from requests.
CREATE TABLE channel_states (
    channel_id     TEXT        NOT NULL REFERENCES channels (id) ON DELETE CASCADE,
    credential     BIGINT      NOT NULL,
    state          TEXT        NOT NULL,
    rests_until    TIMESTAMPTZ,
    error          TEXT        NOT NULL,
    changed_at     TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (channel_id, credential)
);

CREATE TABLE channel_probes (
    channel_id TEXT        NOT NULL PRIMARY KEY REFERENCES channels (id) ON DELETE CASCADE,
    probed_at  TIMESTAMPTZ NOT NULL,
    failures   BIGINT      NOT NULL
);

CREATE TABLE events (
    id         TEXT        NOT NULL PRIMARY KEY,
    type       TEXT        NOT NULL,
    payload    JSONB       NOT NULL,
    created_at TIMESTAMPTZ NOT NULL
);

-- +goose Down

DROP TABLE events;
DROP TABLE channel_probes;
DROP TABLE channel_states;
ALTER TABLE models DROP COLUMN routing;
ALTER TABLE api_keys DROP COLUMN channel_tags;
ALTER TABLE users DROP COLUMN user_groups;
ALTER TABLE channels DROP COLUMN key_hints;
ALTER TABLE channels DROP COLUMN user_groups;
ALTER TABLE channels DROP COLUMN tags;
