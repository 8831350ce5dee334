-- How long a key's answers are kept for the same request, in seconds; 0: not at all.

-- +goose Up

ALTER TABLE api_keys ADD COLUMN cache_ttl BIGINT NOT NULL DEFAULT 0;

-- +goose Down

ALTER TABLE api_keys DROP COLUMN cache_ttl;
