package idempotency_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/coaidev/coai/internal/idempotency"
	"github.com/coaidev/coai/internal/sealed"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/internal/testdb"
)

func TestKeysExpire(t *testing.T) {
	t.Parallel()
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		ctx := t.Context()
		if _, err := db.Write().NewRaw(`INSERT INTO users (id, email, name, role, tier, status, created_at, updated_at)
			VALUES ('user_1', 'a@b.c', 'A', 'user', 'free', 'active', '2026-01-01 00:00:00+00:00', '2026-01-01 00:00:00+00:00')`).Exec(ctx); err != nil {
			t.Fatal(err)
		}
		box, err := sealed.New(bytes.Repeat([]byte{7}, sealed.KeySize))
		if err != nil {
			t.Fatal(err)
		}
		s := idempotency.New(db, box)
		now := time.Now()
		s.SetNow(func() time.Time { return now })
		take := func() (*idempotency.Claim, *idempotency.Answer) {
			t.Helper()
			c, a, err := s.Claim(ctx, "user_1", "k")
			if err != nil {
				t.Fatal(err)
			}
			return c, a
		}
		lost, _ := take()
		if c, a := take(); c != nil || a != nil {
			t.Fatalf("a key that is at work: %v, %v", c, a)
		}
		now = now.Add(idempotency.LeaseTTL - time.Second)
		if err := lost.Extend(ctx); err != nil {
			t.Fatal(err)
		}
		now = now.Add(idempotency.LeaseTTL - time.Second)
		if c, a := take(); c != nil || a != nil {
			t.Fatalf("a key that was extended: %v, %v", c, a)
		}
		now = now.Add(2 * time.Second)
		c, _ := take()
		if c == nil {
			t.Fatal("a key whose process died is not given to another")
		}
		kept := &idempotency.Answer{Request: []byte("hash"), Status: 201, Header: map[string]string{"Content-Type": "a/b"}, Body: []byte("secret words")}
		for name, err := range map[string]error{"Extend": lost.Extend(ctx), "Finish": lost.Finish(ctx, kept)} {
			if err == nil || !strings.Contains(err.Error(), "somebody else") {
				t.Errorf("%s after the key was lost: %v", name, err)
			}
		}
		if err := lost.Release(ctx); err != nil {
			t.Error(err)
		}
		if err := c.Finish(ctx, kept); err != nil {
			t.Fatal(err)
		}
		if err := c.Release(ctx); err != nil {
			t.Error(err)
		}
		if _, a := take(); a == nil || a.Status != 201 || string(a.Body) != "secret words" || string(a.Request) != "hash" || a.Header["Content-Type"] != "a/b" {
			t.Errorf("kept: %+v", a)
		}
		if n, err := s.Purge(ctx, now.Add(idempotency.Keep-time.Second)); n != 0 || err != nil {
			t.Errorf("Purge = %d, %v", n, err)
		}
		if n, err := s.Purge(ctx, now.Add(idempotency.Keep+time.Second)); n != 1 || err != nil {
			t.Errorf("Purge = %d, %v", n, err)
		}
		c, _ = take()
		if err := c.Release(ctx); err != nil {
			t.Fatal(err)
		}
		if c, _ := take(); c == nil {
			t.Error("a released key is not given again")
		}
	})
}
