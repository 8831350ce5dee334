package app

import (
	"context"
	"errors"

	"github.com/rs/zerolog"

	"github.com/coaidev/coai/internal/storage"
)

// Migration is a step of the database schema.
type Migration = storage.Migration

// Migrate brings the schema up to date and says how many steps that took.
func Migrate(ctx context.Context, cfg *Config, log zerolog.Logger) (applied int, err error) {
	err = withDatabase(ctx, cfg, log, func(db *storage.DB) error {
		applied, err = db.Migrate(ctx)
		return err
	})
	return applied, err
}

// MigrateDown takes the schema back to a version; 0 drops all tables.
func MigrateDown(ctx context.Context, cfg *Config, log zerolog.Logger, to int64) error {
	return withDatabase(ctx, cfg, log, func(db *storage.DB) error { return db.MigrateDown(ctx, to) })
}

// MigrationStatus lists all steps and when each was applied.
func MigrationStatus(ctx context.Context, cfg *Config, log zerolog.Logger) (list []Migration, err error) {
	err = withDatabase(ctx, cfg, log, func(db *storage.DB) error {
		list, err = db.MigrationStatus(ctx)
		return err
	})
	return list, err
}

func withDatabase(ctx context.Context, cfg *Config, log zerolog.Logger, do func(*storage.DB) error) error {
	c, err := openCore(log.WithContext(ctx), cfg, log, false)
	if err != nil {
		return err
	}
	return errors.Join(do(c.db), c.close(ctx))
}
