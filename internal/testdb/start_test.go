package testdb

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// What most machines do not need still has to work on those that do.
func TestPostgresOfOurOwn(t *testing.T) {
	if _, err := postgresPrograms(); err != nil {
		t.Skip(err)
	}
	s, err := startPostgres(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	name, err := s.template()
	if err != nil {
		t.Fatal(err)
	}
	if err := migrate(t.Context(), s.create(t, true)); err != nil {
		t.Errorf("a copy of the template %s: %v", name, err)
	}
	t.Run("ends with us", func(t *testing.T) {
		own, err := startPostgres(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		own.child.stop()
		gone(t, own.child.dir)
	})
}

func TestRedisOfOurOwnEndsWithUs(t *testing.T) {
	s, err := startRedis()
	if err != nil {
		t.Skip(err)
	}
	s.child.stop()
	gone(t, s.child.dir)
	if err := s.with(t.Context(), 0, ping); err == nil {
		t.Error("the server still answers")
	}
}

func TestSharedRedisIsClaimed(t *testing.T) {
	private, err := startRedis()
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(private.child.stop)
	s, err := sharedRedis(private.url(0))
	if err != nil {
		t.Fatal(err)
	}
	// Somebody keeps something in database 1.
	err = s.with(t.Context(), 1, func(ctx context.Context, c *redis.Client) error { return c.Set(ctx, "k", "v", 0).Err() })
	if err != nil {
		t.Fatal(err)
	}
	var release func(context.Context) error
	for want := 2; want < 16; want++ {
		var n int
		if n, release, err = s.claim(t.Context()); err != nil || n != want {
			t.Fatalf("claim = %d, %v; want %d", n, err, want)
		}
	}
	if err := release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, _, err := s.claim(t.Context()); err != nil || n != 15 {
		t.Errorf("claim after release = %d, %v; want 15", n, err)
	}
}

// gone waits until the folder of a server is removed, which happens last.
func gone(t *testing.T, dir string) {
	t.Helper()
	deadline, tick := time.After(20*time.Second), time.NewTicker(10*time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(dir); os.IsNotExist(err) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s is still there", dir)
		}
	}
}
