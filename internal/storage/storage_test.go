package storage_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/internal/testdb"
	"github.com/coaidev/coai/models"
)

// open opens the database until the test ends.
func open(t *testing.T, url string) *storage.DB {
	t.Helper()
	db, err := storage.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func TestOpenRefuses(t *testing.T) {
	const allowed = "allowed are"
	blocker := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(blocker, []byte("not a database, and not a folder either"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ url, want string }{
		"nothing":            {"", allowed},
		"no scheme":          {"./data/coai.db", allowed},
		"unknown scheme":     {"mysql://root:s3cret@localhost/coai", allowed},
		"postgres as words":  {"postgres:host=localhost password=s3cret", allowed},
		"no file":            {"sqlite:", allowed},
		"no file either":     {"sqlite://", allowed},
		"in memory":          {"sqlite::memory:", "lose"},
		"parameters":         {"sqlite:coai.db?mode=memory", "no parameters"},
		"folder is a file":   {"sqlite:" + blocker + "/coai.db", blocker},
		"not a database":     {"sqlite:" + blocker, blocker},
		"a folder":           {"sqlite:" + t.TempDir(), "create"},
		"slash in password":  {"postgres://me:12/s3cret@localhost/coai", "percent-encode"},
		"hash in password":   {"postgres://me:s3cret#x@localhost:x/coai", allowed},
		"bad escape":         {"postgres://me:s3cret%zz@localhost/coai", "percent-encode"},
		"bad port":           {"postgres://me:s3cret@localhost:port/coai", "percent-encode"},
		"port out of range":  {"postgres://me:s3cret@localhost:123456/coai", "not valid"},
		"bad sslmode":        {"postgres://me@localhost/coai?sslmode=perhaps&password=s3cret", allowed},
		"bad sslmode shown":  {"postgres://localhost/coai?sslmode=perhaps", "sslmode"},
		"no pool":            {"postgres://me:s3cret@localhost/coai?pool_max_conns=0", "pool_max_conns"},
		"pool of words":      {"postgres://me:s3cret@localhost/coai?pool_max_conns=many", `"many"`},
		"lifetime":           {"postgres://me:s3cret@localhost/coai?pool_max_conn_lifetime=5", "such as 30m"},
		"idle time":          {"postgres://me:s3cret@localhost/coai?pool_max_conn_idle_time=-1s", "such as 30m"},
		"nobody listens":     {"postgres://me:s3cret@127.0.0.1:1/coai?sslmode=disable", "connect to PostgreSQL at 127.0.0.1:1"},
		"postgresql as well": {"postgresql://me:s3cret@127.0.0.1:1/coai?sslmode=disable", "connect to PostgreSQL"},
	} {
		t.Run(name, func(t *testing.T) {
			db, err := storage.Open(t.Context(), c.url)
			if err == nil {
				_ = db.Close()
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error = %v; want one with %q", err, c.want)
			}
			if strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
}

func TestOpenPostgresIsRefusedWithoutThePassword(t *testing.T) {
	url := testdb.Open(t, storage.Postgres)
	scheme, rest, _ := strings.Cut(url, "://")
	_, rest, _ = strings.Cut(rest, "@")
	_, err := storage.Open(t.Context(), scheme+"://nobody_of_this_name:s3cret@"+rest)
	if err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("error = %v; want one without the password", err)
	}
}

func TestOpenGivesUpWithItsContext(t *testing.T) {
	// It takes connections and never answers.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := storage.Open(ctx, "postgres://"+l.Addr().String()+"/coai?sslmode=disable"); err == nil {
		t.Error("opened")
	}
}

func TestOpenSQLiteMakesPrivateFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "data")
	// Each of these is special in a URL.
	path := filepath.Join(dir, "my %20#& co'ai.db")
	db := open(t, "sqlite:"+path)
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	insert(t, db, user("user_1", "a@example.com"))
	for name, want := range map[string]fs.FileMode{
		dir: 0o700, filepath.Dir(dir): 0o700, path: 0o600, path + "-wal": 0o600, path + "-shm": 0o600, path + ".migrate.lock": 0o600,
	} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v; want mode %v", name, info, err, want)
		}
	}
}

func TestOpenSQLiteForms(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for url, file := range map[string]string{
		"sqlite:./data/a.db":          "data/a.db",
		"sqlite:b.db":                 "b.db",
		"sqlite://c.db":               "c.db",
		"sqlite:" + dir + "/d.db":     "d.db",
		"sqlite://" + dir + "/e.db":   "e.db",
		"sqlite:data/../data/f:1.db":  "data/f:1.db",
		"sqlite:./data/sub/dir/ü.db":  "data/sub/dir/ü.db",
		"sqlite:./with space/data.db": "with space/data.db",
	} {
		if err := open(t, url).Ping(t.Context()); err != nil {
			t.Errorf("%s: %v", url, err)
		}
		if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestSQLiteSettings(t *testing.T) {
	db := testdb.New(t, storage.SQLite)
	for _, c := range []struct {
		pool   *bun.DB
		pragma string
		want   string
	}{
		{db.Write(), "journal_mode", "wal"},
		{db.Write(), "synchronous", "2"}, // FULL
		{db.Write(), "busy_timeout", "5000"},
		{db.Write(), "foreign_keys", "1"},
		{db.Write(), "query_only", "0"},
		{db.Read(), "journal_mode", "wal"},
		{db.Read(), "busy_timeout", "5000"},
		{db.Read(), "query_only", "1"},
	} {
		var got string
		if err := c.pool.NewRaw("PRAGMA "+c.pragma).Scan(t.Context(), &got); err != nil || got != c.want {
			t.Errorf("%s = %q, %v; want %q", c.pragma, got, err, c.want)
		}
	}
	if n := db.Write().Stats().MaxOpenConnections; n != 1 {
		t.Errorf("there may be %d writers", n)
	}
	if n := db.Read().Stats().MaxOpenConnections; n < 4 {
		t.Errorf("there may be only %d readers", n)
	}
}

func TestPostgresSettings(t *testing.T) {
	url := testdb.Open(t, storage.Postgres)
	for params, want := range map[string]int{"": 20, "pool_max_conns=3&pool_max_conn_lifetime=1m&pool_max_conn_idle_time=1s&pool_min_conns=1": 3} {
		base, _, _ := strings.Cut(url, "?")
		db := open(t, base+"?sslmode=disable&"+params)
		if n := db.Read().Stats().MaxOpenConnections; n != want {
			t.Errorf("%q: there may be %d connections; want %d", params, n, want)
		}
		var name string
		if err := db.Read().NewRaw("SHOW application_name").Scan(t.Context(), &name); err != nil || name != "coai" {
			t.Errorf("application_name = %q, %v", name, err)
		}
		var prepared int
		if err := db.Read().NewRaw("SELECT count(*) FROM pg_prepared_statements").Scan(t.Context(), &prepared); err != nil || prepared != 0 {
			t.Errorf("%d statements are prepared, %v", prepared, err)
		}
	}
}

func TestReadPoolCannotWriteOnSQLite(t *testing.T) {
	db := testdb.New(t, storage.SQLite)
	if _, err := db.Read().NewInsert().Model(user("user_1", "a@example.com")).Exec(t.Context()); err == nil {
		t.Error("the read pool wrote")
	}
}

func TestReadersDoNotWaitForAWriter(t *testing.T) {
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		insert(t, db, user("user_1", "a@example.com"))
		err := db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			if _, err := tx.NewInsert().Model(user("user_2", "b@example.com")).Exec(ctx); err != nil {
				return err
			}
			// What is not committed is not seen.
			n, err := db.Read().NewSelect().Model((*models.User)(nil)).Count(ctx)
			if err == nil && n != 1 {
				err = fmt.Errorf("a reader sees %d users", n)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if n := count(t, db); n != 2 {
			t.Errorf("after the commit there are %d users", n)
		}
	})
}

func count(t *testing.T, db *storage.DB) int64 {
	t.Helper()
	n, err := db.Read().NewSelect().Model((*models.User)(nil)).Count(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestTxRollsBack(t *testing.T) {
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		failure := errors.New("no")
		change := func(ctx context.Context, tx bun.Tx) {
			if _, err := tx.NewInsert().Model(user("user_1", "a@example.com")).Exec(ctx); err != nil {
				t.Fatal(err)
			}
		}
		err := db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
			change(ctx, tx)
			return failure
		})
		if !errors.Is(err, failure) {
			t.Errorf("Tx = %v; want the function's error", err)
		}
		func() {
			defer func() { _ = recover() }()
			_ = db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
				change(ctx, tx)
				panic("oh")
			})
		}()
		ctx, cancel := context.WithCancel(t.Context())
		err = db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
			change(ctx, tx)
			cancel()
			return nil
		})
		if err == nil {
			t.Error("a transaction whose context ended was committed")
		}
		if n := count(t, db); n != 0 {
			t.Errorf("%d users are left of what was rolled back", n)
		}
		// And the writer is free again.
		if err := db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error { change(ctx, tx); return nil }); err != nil {
			t.Error(err)
		}
	})
}

// Each transaction reads before it writes, which on SQLite fails at once with
// "database is locked" unless the lock is taken at the start. Two handles stand
// for two processes.
func TestConcurrentWriters(t *testing.T) {
	for _, dialect := range testdb.Dialects() {
		t.Run(dialect, func(t *testing.T) {
			url := testdb.Open(t, dialect)
			handles := []*storage.DB{open(t, url), open(t, url)}
			if _, err := handles[0].Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			const writers, each = 32, 5
			errs := make(chan error, writers*each)
			var wg sync.WaitGroup
			for w := range writers {
				db := handles[w%len(handles)]
				wg.Go(func() {
					for i := range each {
						errs <- db.Tx(t.Context(), func(ctx context.Context, tx bun.Tx) error {
							if _, err := tx.NewSelect().Model((*models.User)(nil)).Count(ctx); err != nil {
								return err
							}
							if err := storage.Bump(ctx, tx, "accounts"); err != nil {
								return err
							}
							id := fmt.Sprintf("user_%d_%d", w, i)
							_, err := tx.NewInsert().Model(user(id, id+"@example.com")).Exec(ctx)
							return err
						})
					}
				})
			}
			wg.Wait()
			close(errs)
			for err := range errs {
				if err != nil {
					t.Error(err)
				}
			}
			if n := count(t, handles[1]); n != writers*each {
				t.Errorf("%d users; want %d", n, writers*each)
			}
			if n, err := handles[1].Revision(t.Context(), "accounts"); err != nil || n != writers*each {
				t.Errorf("revision = %d, %v; want %d", n, err, writers*each)
			}
		})
	}
}

func TestPingAndClose(t *testing.T) {
	for _, dialect := range testdb.Dialects() {
		t.Run(dialect, func(t *testing.T) {
			db, err := storage.Open(t.Context(), testdb.Open(t, dialect))
			if err != nil {
				t.Fatal(err)
			}
			if db.Dialect() != dialect {
				t.Errorf("Dialect = %s", db.Dialect())
			}
			if err := db.Ping(t.Context()); err != nil {
				t.Error(err)
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
			if err := db.Ping(t.Context()); err == nil {
				t.Error("a closed database answers")
			}
		})
	}
}

func TestSQLiteFoldsItsLogWhenClosed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "coai.db")
	db, err := storage.Open(t.Context(), "sqlite:"+path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path + "-wal"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the log is still there, %v: a copy of the file alone would miss records", err)
	}
}
