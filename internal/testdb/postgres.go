package testdb

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/coaidev/coai/internal/storage"
)

// Databases are named coaitest_<Unix seconds>_<rest>, so that those of runs that
// were killed can be told by age and dropped.
const (
	namePrefix = "coaitest_"
	maxAge     = 26 * time.Hour
)

// postgresOnce is one server for all tests of a binary.
var postgresOnce = sync.OnceValues(findPostgres) //nolint:gochecknoglobals // starting one takes a while

type postgresServer struct {
	admin    *url.URL // a database to give orders from
	from     string   // where it was found
	child    *child   // nil: somebody else's
	template func() (string, error)
}

func postgres(t testing.TB) *postgresServer {
	t.Helper()
	s, err := postgresOnce()
	if err != nil {
		unavailable(t, "postgres", err)
	}
	return s
}

func findPostgres() (*postgresServer, error) {
	ctx := context.Background()
	if u := os.Getenv("COAI_TEST_DATABASE_URL"); u != "" {
		s, err := usePostgres(ctx, u, "COAI_TEST_DATABASE_URL")
		if err != nil {
			return nil, fmt.Errorf("COAI_TEST_DATABASE_URL: %w", err)
		}
		return s, nil
	}
	var missing error
	for _, name := range []string{"postgres", "test"} {
		s, err := usePostgres(ctx, "postgres://postgres@127.0.0.1:5432/"+name+"?sslmode=disable", "127.0.0.1:5432")
		if err == nil {
			return s, nil
		}
		missing = err
	}
	s, err := startPostgres(ctx)
	if err != nil {
		return nil, fmt.Errorf("looked for COAI_TEST_DATABASE_URL (not set), a server at 127.0.0.1:5432 (%w), and programs to start one (%w)", missing, err)
	}
	return s, nil
}

func usePostgres(ctx context.Context, admin, from string) (*postgresServer, error) {
	u, err := url.Parse(admin)
	if err != nil {
		return nil, errors.New("not a URL")
	}
	s := &postgresServer{admin: u, from: from}
	s.template = sync.OnceValues(func() (string, error) { return s.makeTemplate(ctx) })
	return s, s.order(ctx, func(conn *pgx.Conn) error {
		var may bool
		err := conn.QueryRow(ctx, "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user").Scan(&may)
		if err == nil && !may {
			err = errors.New("its user may not create databases")
		}
		return err
	})
}

// order runs fn on a connection to the server, and leaves none behind.
func (s *postgresServer) order(ctx context.Context, fn func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, s.admin.String())
	if err != nil {
		return err
	}
	return errors.Join(fn(conn), conn.Close(ctx))
}

func (s *postgresServer) run(ctx context.Context, sql string) error {
	return s.order(ctx, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, sql)
		return err
	})
}

// create makes a database for a test and gives its URL.
func (s *postgresServer) create(t testing.TB, migrated bool) string {
	t.Helper()
	template := "template0"
	if migrated {
		name, err := s.template()
		if err != nil {
			t.Fatalf("make the template database: %v", err)
		}
		template = name
	}
	name := namePrefix + strconv.FormatInt(time.Now().Unix(), 10) + "_" + randomName()
	if err := s.run(t.Context(), "CREATE DATABASE "+name+" TEMPLATE "+template); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.run(afterTest(t), "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("drop the test's database: %v", err)
		}
	})
	return s.url(name)
}

func (s *postgresServer) url(database string) string {
	u := *s.admin
	u.Path = "/" + database
	q := u.Query()
	// Many test binaries share a server that takes 100 connections by default.
	q.Set("pool_max_conns", "8")
	u.RawQuery = q.Encode()
	return u.String()
}

// makeTemplate makes a migrated database that others are copied from, which is
// faster than to migrate each. Test binaries of one schema share it for a day.
func (s *postgresServer) makeTemplate(ctx context.Context) (string, error) {
	hash, err := schemaHash()
	if err != nil {
		return "", err
	}
	day := time.Now().Truncate(24 * time.Hour).Unix()
	name := namePrefix + strconv.FormatInt(day, 10) + "_template_" + hash
	return name, s.order(ctx, func(conn *pgx.Conn) error {
		if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock(hashtext('coaitest template'))"); err != nil {
			return err
		}
		// The lock goes with the connection.
		var finished int
		err := conn.QueryRow(ctx, "SELECT count(*) FROM pg_database WHERE datname = $1 AND NOT datallowconn", name).Scan(&finished)
		if err != nil || finished == 1 {
			return err
		}
		s.sweep(ctx, conn)
		for _, sql := range []string{"DROP DATABASE IF EXISTS " + name + " WITH (FORCE)", "CREATE DATABASE " + name + " TEMPLATE template0"} {
			if _, err := conn.Exec(ctx, sql); err != nil {
				return err
			}
		}
		if err := migrate(ctx, s.url(name)); err != nil {
			return err
		}
		_, err = conn.Exec(ctx, "ALTER DATABASE "+name+" ALLOW_CONNECTIONS false")
		return err
	})
}

func migrate(ctx context.Context, url string) error {
	db, err := storage.Open(ctx, url)
	if err != nil {
		return err
	}
	_, err = db.Migrate(ctx)
	return errors.Join(err, db.Close())
}

// sweep drops what runs that were killed left behind.
func (s *postgresServer) sweep(ctx context.Context, conn *pgx.Conn) {
	rows, err := conn.Query(ctx, "SELECT datname FROM pg_database WHERE datname LIKE $1", strings.ReplaceAll(namePrefix, "_", `\_`)+"%")
	if err != nil {
		return
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return
	}
	for _, name := range names {
		seconds, _, _ := strings.Cut(strings.TrimPrefix(name, namePrefix), "_")
		made, err := strconv.ParseInt(seconds, 10, 64)
		if err == nil && time.Since(time.Unix(made, 0)) > maxAge {
			// Another binary may be at it too: not our failure.
			_, _ = conn.Exec(ctx, "DROP DATABASE IF EXISTS "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)")
		}
	}
}

func schemaHash() (string, error) {
	files, err := storage.Migrations()
	if err != nil {
		return "", err
	}
	h := sha256.New()
	err = fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(files, path)
		_, _ = fmt.Fprintf(h, "%s %d\n%s", path, len(b), b)
		return err
	})
	return hex.EncodeToString(h.Sum(nil))[:12], err
}
