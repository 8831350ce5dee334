package storage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/uptrace/bun"
)

// Bump counts a topic's revision up, in the transaction of the change, so that
// every process that watches [DB.Revision] learns of it. Topics are "accounts"
// (users, keys, plans) and "channels" (channels, models).
func Bump(ctx context.Context, tx bun.IDB, topic string) error {
	_, err := tx.NewRaw(`INSERT INTO revisions (topic, n) VALUES (?, 1)
		ON CONFLICT (topic) DO UPDATE SET n = revisions.n + 1`, topic).Exec(ctx)
	if err != nil {
		return fmt.Errorf("bump revision of %s: %w", topic, err)
	}
	return nil
}

// Revision is how often a topic was bumped; 0 for one that never was.
func (db *DB) Revision(ctx context.Context, topic string) (int64, error) {
	var n int64
	err := db.read.NewRaw(`SELECT n FROM revisions WHERE topic = ?`, topic).Scan(ctx, &n)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, fmt.Errorf("read revision of %s: %w", topic, err)
	}
	return n, nil
}
