-- Uploaded files. What is in them is in the blob store.
--
-- user_id refers to nobody on purpose: the rows of a deleted account stay until
-- the clean-up has deleted their blobs.

-- +goose Up

CREATE TABLE files (
    id           TEXT        NOT NULL PRIMARY KEY,
    user_id      TEXT        NOT NULL,
    filename     TEXT        NOT NULL,
    purpose      TEXT        NOT NULL,
    bytes        BIGINT      NOT NULL,
    content_type TEXT        NOT NULL,
    sha256       TEXT        NOT NULL,
    status       TEXT        NOT NULL,
    blob_key     TEXT        NOT NULL,
    created_at   TIMESTAMPTZ NOT NULL,
    expires_at   TIMESTAMPTZ
);
CREATE INDEX files_user ON files (user_id, id);
CREATE INDEX files_user_purpose ON files (user_id, purpose, id);
CREATE INDEX files_expiry ON files (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX files_uploading ON files (created_at) WHERE status = 'uploading';

-- +goose Down

DROP TABLE files;
