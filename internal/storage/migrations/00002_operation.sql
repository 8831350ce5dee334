-- What was asked of the upstream: until now always a chat completion.

-- +goose Up

ALTER TABLE usage_records ADD COLUMN operation TEXT NOT NULL DEFAULT 'chat';

-- +goose Down

ALTER TABLE usage_records DROP COLUMN operation;
