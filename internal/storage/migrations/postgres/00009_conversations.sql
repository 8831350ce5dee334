-- Conversations: trees of messages, their search, their links, and what is told to
-- those who watch them. SQLite has a file of its own, for its search.

-- +goose Up

CREATE TABLE conversations (
    id                TEXT        NOT NULL PRIMARY KEY,
    user_id           TEXT        NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    title             TEXT        NOT NULL,
    titled            TEXT        NOT NULL,
    model             TEXT,
    system_prompt     TEXT,
    status            TEXT        NOT NULL,
    metadata          JSONB       NOT NULL,
    leaf_id           TEXT,
    last_id           TEXT        NOT NULL,
    message_count     BIGINT      NOT NULL,
    prompt_tokens     BIGINT      NOT NULL,
    completion_tokens BIGINT      NOT NULL,
    cost              BIGINT      NOT NULL,
    activity          TEXT        NOT NULL,
    revision          BIGINT      NOT NULL,
    shared_at         TIMESTAMPTZ,
    created_at        TIMESTAMPTZ NOT NULL,
    updated_at        TIMESTAMPTZ NOT NULL,
    last_message_at   TIMESTAMPTZ,
    deleted_at        TIMESTAMPTZ
);
-- The lists, in both orders: pages are read off the index and stop after a page.
-- What narrows a list to a status or a model is in the index, so that the rows
-- which do not match are passed over without being read, and totals are counted in
-- the index alone.
CREATE INDEX conversations_created ON conversations (user_id, id, status, model) WHERE deleted_at IS NULL;
CREATE INDEX conversations_active ON conversations (user_id, activity, status, model) WHERE deleted_at IS NULL;
CREATE INDEX conversations_deleted ON conversations (deleted_at) WHERE deleted_at IS NOT NULL;

-- The metadata once more, for filters.
CREATE TABLE conversation_metadata (
    conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    user_id         TEXT NOT NULL,
    name            TEXT NOT NULL,
    value           TEXT NOT NULL,
    PRIMARY KEY (conversation_id, name)
);
CREATE INDEX conversation_metadata_value ON conversation_metadata (user_id, name, value, conversation_id);

-- Bodies are kept as bytes: JSONB would reorder keys and refuse \u0000.
CREATE TABLE conversation_messages (
    id              TEXT        NOT NULL PRIMARY KEY,
    conversation_id TEXT        NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    parent_id       TEXT,
    depth           BIGINT      NOT NULL,
    role            TEXT        NOT NULL,
    body            BYTEA       NOT NULL,
    size            BIGINT      NOT NULL,
    status          TEXT        NOT NULL,
    model           TEXT,
    finish_reason   TEXT,
    error_code      TEXT        NOT NULL,
    usage           JSONB,
    created_at      TIMESTAMPTZ NOT NULL,
    updated_at      TIMESTAMPTZ NOT NULL,
    turn_parent_id  TEXT,
    usage_id        TEXT        NOT NULL,
    lease_until     TIMESTAMPTZ
);
CREATE INDEX conversation_messages_list ON conversation_messages (conversation_id, id);
CREATE INDEX conversation_messages_parent ON conversation_messages (parent_id) WHERE parent_id IS NOT NULL;
-- Answers whose process may have died: as few as there are running answers.
CREATE INDEX conversation_messages_running ON conversation_messages (lease_until) WHERE status = 'in_progress';
CREATE INDEX conversation_messages_unsettled ON conversation_messages (usage_id) WHERE usage_id <> '';

-- One row for a title (message_id is then empty) and for each message with text.
-- The owner is a term of each row: the index answers for one account's rows alone,
-- however many others have. Terms are in the form of to_tsvector('simple'), which
-- knows no language and so fits all of them.
CREATE TABLE conversation_search (
    id              BIGINT GENERATED ALWAYS AS IDENTITY,
    conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    message_id      TEXT NOT NULL,
    owner           TEXT NOT NULL,
    words           TEXT NOT NULL,
    terms           TSVECTOR GENERATED ALWAYS AS (to_tsvector('simple'::regconfig, words) || array_to_tsvector(ARRAY['@' || owner])) STORED,
    PRIMARY KEY (owner, id) -- gives the newest rows of an owner, for words that are in very many
);
CREATE INDEX conversation_search_terms ON conversation_search USING gin (terms);
CREATE INDEX conversation_search_message ON conversation_search (conversation_id, message_id);

CREATE TABLE conversation_shares (
    conversation_id TEXT        NOT NULL PRIMARY KEY REFERENCES conversations (id) ON DELETE CASCADE,
    hash            BYTEA       NOT NULL UNIQUE,
    snapshot        BYTEA       NOT NULL,
    created_at      TIMESTAMPTZ NOT NULL,
    expires_at      TIMESTAMPTZ
);

-- What happened lately, numbered without gaps in each conversation.
CREATE TABLE conversation_log (
    conversation_id TEXT        NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    revision        BIGINT      NOT NULL,
    type            TEXT        NOT NULL,
    message_id      TEXT,
    created_at      TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (conversation_id, revision)
);
CREATE INDEX conversation_log_age ON conversation_log (created_at);

-- +goose Down

DROP TABLE conversation_log;
DROP TABLE conversation_shares;
DROP TABLE conversation_search;
DROP TABLE conversation_messages;
DROP TABLE conversation_metadata;
DROP TABLE conversations;
