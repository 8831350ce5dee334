package files

import (
	"context"
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/models"
)

const (
	cleanSize = 500
	// orphanAge is how old a blob without a row must be before it is deleted. An upload
	// has its row before its first byte; this is for clocks that differ.
	orphanAge = time.Hour
)

// Clean deletes the files that are past their time, that are of accounts that do
// not exist any more, and uploads that lost their process. It says how many.
func (s *Service) Clean(ctx context.Context, at time.Time) (int, error) {
	at = at.UTC()
	expired, errExpired := s.purge(ctx, func(q *bun.SelectQuery) *bun.SelectQuery { return q.Where("f.expires_at <= ?", at) })
	stuck, errStuck := s.purge(ctx, func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("f.status = ?", models.FileUploading).Where("f.created_at < ?", at.Add(-uploadTimeout-time.Hour))
	})
	deserted, errDeserted := s.purge(ctx, func(q *bun.SelectQuery) *bun.SelectQuery {
		return q.Where("NOT EXISTS (SELECT 1 FROM users u WHERE u.id = f.user_id AND u.deleted_at IS NULL)")
	})
	return expired + stuck + deserted, errors.Join(errExpired, errStuck, errDeserted)
}

// purge deletes files, a chunk at a time: the rows first, so that nobody finds a
// file whose blob is gone.
func (s *Service) purge(ctx context.Context, which func(*bun.SelectQuery) *bun.SelectQuery) (int, error) {
	total := 0
	for {
		var rows []*models.File
		if err := s.db.Read().NewSelect().Model(&rows).Column("id", "blob_key").Apply(which).Limit(cleanSize).Scan(ctx); err != nil {
			return total, fmt.Errorf("find files to delete: %w", err)
		}
		if len(rows) == 0 {
			return total, nil
		}
		ids := make([]string, len(rows))
		for i, f := range rows {
			ids[i] = f.ID
		}
		_, err := s.db.Write().NewDelete().Model((*models.File)(nil)).Where("id IN (?)", bun.List(ids)).Exec(ctx)
		if err != nil {
			return total, fmt.Errorf("delete files: %w", err)
		}
		total += len(rows)
		for _, f := range rows {
			err = errors.Join(err, s.store.remove(ctx, f.Key)) // Sweep finds what stays behind
		}
		if err != nil || len(rows) < cleanSize {
			return total, err
		}
	}
}

// Sweep deletes the blobs that no row knows, and says how many. It reads the names
// of all blobs, so it is for once in a while.
func (s *Service) Sweep(ctx context.Context, at time.Time) (int, error) {
	total := 0
	err := s.store.walk(ctx, at.Add(-orphanAge), cleanSize, func(keys []string) error {
		var known []string
		err := s.db.Read().NewSelect().Model((*models.File)(nil)).Column("blob_key").
			Where("id IN (?)", bun.List(ids(keys))).Scan(ctx, &known)
		if err != nil {
			return fmt.Errorf("find the files of blobs: %w", err)
		}
		has := make(map[string]bool, len(known))
		for _, k := range known {
			has[k] = true
		}
		for _, k := range keys {
			if has[k] {
				continue
			}
			if err := s.store.remove(ctx, k); err != nil {
				return err
			}
			total++
		}
		return nil
	})
	return total, err
}

// ids are the last parts of keys.
func ids(keys []string) []string {
	list := make([]string, len(keys))
	for i, k := range keys {
		list[i] = path.Base(k)
	}
	return list
}
