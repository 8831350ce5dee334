// Package testdb gives tests fresh databases on real servers: SQLite in a
// temporary folder, PostgreSQL and Redis wherever they can be found or started.
// Only tests import it.
//
// PostgreSQL is the server of COAI_TEST_DATABASE_URL, else one at
// 127.0.0.1:5432 that lets the user postgres in, else one that is started from
// the programs initdb and postgres. Redis is the server of COAI_TEST_REDIS_URL,
// else one that is started from redis-server, else one at 127.0.0.1:6379.
//
// A test whose server is not to be had is skipped, or fails when
// COAI_TEST_REQUIRE, a list such as "postgres,redis", names it.
package testdb

import (
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coaidev/coai/internal/storage"
)

// Dialects are what [Each] runs on.
func Dialects() []string { return []string{storage.SQLite, storage.Postgres} }

// Each runs fn as a subtest on each dialect, with a migrated database that
// nobody else has.
func Each(t *testing.T, fn func(t *testing.T, db *storage.DB)) {
	t.Helper()
	for _, dialect := range Dialects() {
		t.Run(dialect, func(t *testing.T) { fn(t, New(t, dialect)) })
	}
}

// New opens a migrated database that nobody else has, until the test ends.
func New(t testing.TB, dialect string) *storage.DB {
	t.Helper()
	var url string
	if dialect == storage.Postgres {
		url = postgres(t).create(t, true)
	} else {
		url = sqliteURL(t)
	}
	db, err := storage.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	if dialect == storage.SQLite {
		if _, err := db.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return db
}

// Open makes an empty database that nobody else has, without a schema, and
// gives its URL: for tests that start the whole product. It is gone after the
// test, whoever is still connected.
func Open(t testing.TB, dialect string) (url string) {
	t.Helper()
	if dialect == storage.Postgres {
		return postgres(t).create(t, false)
	}
	return sqliteURL(t)
}

func sqliteURL(t testing.TB) string {
	t.Helper()
	return "sqlite:" + filepath.Join(t.TempDir(), "coai.db")
}

// unavailable ends a test that has no server.
func unavailable(t testing.TB, name string, err error) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv("COAI_TEST_REQUIRE"), ","), name) {
		t.Fatalf("%s is required by COAI_TEST_REQUIRE, but not to be had: %v", name, err)
	}
	t.Skipf("%s is not to be had: %v", name, err)
}

// afterTest is a context for clean-up: the test's own has ended by then.
func afterTest(t testing.TB) context.Context { return context.WithoutCancel(t.Context()) }

func randomName() string { return strings.ToLower(rand.Text()[:12]) }
