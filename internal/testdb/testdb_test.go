package testdb_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/internal/testdb"
)

// TestBackends says what all other tests of the same environment run on.
func TestBackends(t *testing.T) {
	t.Run("sqlite", func(t *testing.T) {
		t.Logf("SQLite %s", version(t, testdb.New(t, storage.SQLite), "SELECT sqlite_version()"))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Logf("%s (found by %s)", version(t, testdb.New(t, storage.Postgres), "SELECT version()"), testdb.PostgresFrom())
	})
	t.Run("redis", func(t *testing.T) {
		client := redisClient(t, testdb.Redis(t))
		info, err := client.InfoMap(t.Context(), "server").Result()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("Redis %s (found by %s)", info["Server"]["redis_version"], testdb.RedisFrom())
	})
}

func version(t *testing.T, db *storage.DB, query string) (v string) {
	t.Helper()
	if err := db.Read().NewRaw(query).Scan(t.Context(), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func redisClient(t *testing.T, url string) *redis.Client {
	t.Helper()
	o, err := redis.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(o)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestEachDatabaseIsItsOwnAndMigrated(t *testing.T) {
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		other := testdb.New(t, db.Dialect())
		if err := storage.Bump(t.Context(), db.Write(), "accounts"); err != nil {
			t.Fatal(err)
		}
		for want, db := range []*storage.DB{other, db} {
			if n, err := db.Revision(t.Context(), "accounts"); err != nil || n != int64(want) {
				t.Errorf("revision = %d, %v; want %d", n, err, want)
			}
		}
	})
}

func TestOpenIsEmpty(t *testing.T) {
	for _, dialect := range testdb.Dialects() {
		t.Run(dialect, func(t *testing.T) {
			db, err := storage.Open(t.Context(), testdb.Open(t, dialect))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = db.Close() }()
			if n, err := db.Migrate(t.Context()); err != nil || n == 0 {
				t.Errorf("Migrate = %d, %v; want all steps to be left", n, err)
			}
		})
	}
}

func TestRedisIsEmptyAndItsOwn(t *testing.T) {
	first, second := testdb.Redis(t), testdb.Redis(t)
	if first == second {
		t.Fatalf("two tests share %s", first)
	}
	a, b := redisClient(t, first), redisClient(t, second)
	if err := a.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if err := b.Get(t.Context(), "k").Err(); !errors.Is(err, redis.Nil) {
		t.Errorf("the other database answers %v; want nothing there", err)
	}
}

func TestDialects(t *testing.T) {
	if d := testdb.Dialects(); !slices.Equal(d, []string{storage.SQLite, storage.Postgres}) {
		t.Error(d)
	}
}
