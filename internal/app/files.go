package app

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/coaidev/coai/internal/files"
)

// files opens the store of uploaded files.
func (c *core) files(ctx context.Context) (*files.Service, error) {
	if c.cfg.StorageURL == "" && !c.cfg.embeddedDatabase() {
		c.log.Warn().Str("folder", c.cfg.Storage()).
			Msg("COAI_STORAGE_URL is not set: processes on other machines cannot read the files that are uploaded here")
	}
	store, err := files.OpenStore(ctx, c.cfg.Storage())
	if err != nil {
		return nil, fmt.Errorf("open the file storage: %w", err)
	}
	s := files.New(c.db, store, files.Config{
		MaxSize: int64(c.cfg.FileMaxSize), MaxFiles: int64(c.cfg.FilesMaxCount), MaxTotal: int64(c.cfg.FilesMaxTotal),
		CacheDir: filepath.Join(c.cfg.DataDir, "cache"),
	})
	c.onClose("file storage", func(context.Context) error { return s.Close() })
	return s, nil
}
