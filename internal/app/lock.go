package app

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
)

// lockDataDir keeps a second serving process off an embedded database. The
// kernel drops the lock when the process ends, however it ends.
func lockDataDir(dir string) (*flock.Flock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the data directory: %w", err)
	}
	lock := flock.New(filepath.Join(dir, "coai.lock"))
	ok, err := lock.TryLock()
	switch {
	case err != nil:
		return nil, fmt.Errorf("lock the data directory: %w", err)
	case !ok:
		return nil, fmt.Errorf("another 'coai serve' runs on the data directory %s: its SQLite database serves one process; "+
			"stop the other one, choose another --data-dir, or use PostgreSQL for several processes", dir)
	}
	return lock, nil
}
