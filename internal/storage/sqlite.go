package storage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/sqlitedialect"
	_ "modernc.org/sqlite" // registers the driver "sqlite"
)

const (
	// A commit is on the disk when it returns (synchronous=FULL): rows of it are money.
	// A transaction takes the write lock when it begins, because one that asks for it
	// later fails at once, busy_timeout or not, when another has written since.
	// Temporary journals are kept in memory, and the log is folded into the file
	// every 16 MiB instead of every 4: both are work for each batch of records.
	sqliteWriter = "_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=busy_timeout(5000)&_pragma=foreign_keys(1)" +
		"&_pragma=temp_store(2)&_pragma=cache_size(-16384)&_pragma=wal_autocheckpoint(4000)&_txlock=immediate&_dqs=0"
	sqliteReader = "_pragma=busy_timeout(5000)&_pragma=foreign_keys(1)&_pragma=query_only(1)&_dqs=0"
)

func openSQLite(ctx context.Context, rest string) (*DB, error) {
	name := strings.TrimPrefix(rest, "//")
	switch {
	case name == "":
		return nil, errors.New("the database URL names no file: " + allowedURLs)
	case strings.HasPrefix(name, ":memory:"):
		return nil, errors.New("SQLite in memory would lose every record: " + allowedURLs)
	case strings.ContainsRune(name, '?'):
		return nil, errors.New("a SQLite database URL takes no parameters: " + allowedURLs)
	}
	path, err := filepath.Abs(name)
	if err != nil {
		return nil, fmt.Errorf("find SQLite database: %w", err)
	}
	if err := createPrivate(path); err != nil {
		return nil, fmt.Errorf("create SQLite database: %w", err)
	}

	// Several connections that write would only wait for each other, at random and
	// without a bound; in database/sql's queue for the single one, they wait in turn.
	writer, err := openSQLitePool(path, sqliteWriter, 1)
	if err != nil {
		return nil, err
	}
	// The writer goes first, since it switches the file to WAL.
	if err := writer.PingContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open SQLite database %s: %w", path, err), writer.Close())
	}
	reader, err := openSQLitePool(path, sqliteReader, max(4, runtime.NumCPU()))
	if err != nil {
		return nil, errors.Join(err, writer.Close())
	}
	db := &DB{dialect: SQLite, read: reader, write: writer, path: path, announced: make(chan string, announcements)}
	if err := db.Ping(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open SQLite database %s: %w", path, err), db.Close())
	}
	return db, nil
}

func openSQLitePool(path, params string, conns int) (*bun.DB, error) {
	dsn := "file:" + (&url.URL{Path: filepath.ToSlash(path)}).EscapedPath() + "?" + params
	pool, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, fmt.Errorf("open SQLite database %s: %w", path, err)
	}
	pool.SetMaxOpenConns(conns)
	pool.SetMaxIdleConns(conns)
	return bun.NewDB(pool, sqlitedialect.New()), nil
}

// createPrivate makes the file, if there is none, before SQLite would do so with
// wider permissions. SQLite gives its log the same ones.
func createPrivate(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // the operator names the file
	if err != nil {
		return err
	}
	return f.Close()
}
