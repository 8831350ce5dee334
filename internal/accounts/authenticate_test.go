package accounts_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/accounts"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/internal/testdb"
	"github.com/coaidev/coai/models"
)

func TestAuthenticateGivesTheViewer(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		user := w.user("a@example.com")
		key, secret := w.key(user, models.CreateAPIKeyInput{
			Scopes: []models.Scope{models.ScopeChat}, AllowedModels: []string{"m"}, AllowedCIDRs: []string{"127.0.0.0/8"},
		})
		v := w.signIn(secret)
		if v.UserID != user.UserID || v.KeyID != key.ID || v.Role != models.RoleUser || v.Tier != models.TierFree {
			t.Errorf("viewer = %+v", v)
		}
		if len(v.Scopes) != 1 || v.Scopes[0] != models.ScopeChat || !v.MayUse("m") || v.MayUse("n") || len(v.AllowedCIDRs) != 1 {
			t.Errorf("viewer = %+v", v)
		}
	})
}

func TestAuthenticateRefuses(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		user := w.user("a@example.com")
		_, good := w.key(user, models.CreateAPIKeyInput{})
		revoked, revokedSecret := w.key(user, models.CreateAPIKeyInput{})
		if _, err := w.DeleteAPIKey(t.Context(), user, revoked.ID); err != nil {
			t.Fatal(err)
		}
		_, expiring := w.key(user, models.CreateAPIKeyInput{ExpiresAt: ptr(w.clock.Now().Add(time.Hour))})
		rotated, old := w.key(user, models.CreateAPIKeyInput{})
		if _, err := w.RotateAPIKey(t.Context(), user, rotated.ID, &models.RotateAPIKeyInput{GraceSeconds: ptr(3600)}); err != nil {
			t.Fatal(err)
		}
		_, bound := w.key(user, models.CreateAPIKeyInput{AllowedCIDRs: []string{"10.0.0.0/8", "2001:db8::/32"}})
		_, mapped := w.key(user, models.CreateAPIKeyInput{AllowedCIDRs: []string{"::ffff:10.0.0.0/104"}})
		suspended := w.user("b@example.com")
		_, suspendedSecret := w.key(suspended, models.CreateAPIKeyInput{})
		if _, err := w.db.Write().NewUpdate().Model((*models.User)(nil)).Set("status = ?", models.UserSuspended).
			Where("id = ?", suspended.UserID).Exec(t.Context()); err != nil {
			t.Fatal(err)
		}

		const unauthenticated, forbidden = models.KindUnauthenticated, models.KindForbidden
		for _, c := range []struct {
			name   string
			secret string
			from   string
			later  time.Duration
			kind   models.Kind
			code   string // empty: let in
		}{
			{name: "good", secret: good},
			{name: "no secret", secret: "", kind: unauthenticated, code: models.CodeMissingAPIKey},
			{name: "no key", secret: "hello", kind: unauthenticated, code: models.CodeInvalidAPIKey},
			{name: "typing error", secret: good[:20] + flip(good[20:21]) + good[21:], kind: unauthenticated, code: models.CodeInvalidAPIKey},
			{name: "well-formed and unknown", secret: accounts.NewSecret(), kind: unauthenticated, code: models.CodeInvalidAPIKey},
			{name: "revoked", secret: revokedSecret, kind: unauthenticated, code: models.CodeRevokedAPIKey},
			{name: "before its expiry", secret: expiring, later: time.Hour - time.Second},
			{name: "at its expiry", secret: expiring, later: time.Hour, kind: unauthenticated, code: models.CodeExpiredAPIKey},
			{name: "old secret within grace", secret: old, later: time.Hour - time.Second},
			{name: "old secret after grace", secret: old, later: time.Hour, kind: unauthenticated, code: models.CodeExpiredAPIKey},
			{name: "suspended", secret: suspendedSecret, kind: forbidden, code: models.CodeAccountSuspended},
			{name: "network", secret: bound, from: "10.1.2.3"},
			{name: "network, mapped to IPv6", secret: bound, from: "::ffff:10.1.2.3"},
			{name: "network of IPv6", secret: bound, from: "2001:db8::1"},
			{name: "network of IPv6 with a zone", secret: bound, from: "2001:db8::1%eth0"},
			{name: "other network", secret: bound, from: "11.1.2.3", kind: forbidden, code: models.CodeIPNotAllowed},
			{name: "no address", secret: bound, from: "-", kind: forbidden, code: models.CodeIPNotAllowed},
			{name: "mapped network", secret: mapped, from: "10.1.2.3"},
			{name: "outside mapped network", secret: mapped, from: "11.1.2.3", kind: forbidden, code: models.CodeIPNotAllowed},
		} {
			t.Run(c.name, func(t *testing.T) {
				w.clock.Add(c.later)
				defer w.clock.Add(-c.later)
				from := local
				if c.from == "-" {
					from = netip.Addr{}
				} else if c.from != "" {
					from = netip.MustParseAddr(c.from)
				}
				v, err := w.Authenticate(t.Context(), c.secret, from)
				if c.code != "" {
					wantCode(t, err, c.kind, c.code)
				} else if err != nil || v == nil {
					t.Errorf("Authenticate = %v, %v", v, err)
				}
			})
		}
	})
}

func flip(c string) string {
	if c == "a" {
		return "b"
	}
	return "a"
}

// A revoked key stays revoked whatever else is the matter with it.
func TestAuthenticateChecksInOrder(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		user := w.user("a@example.com")
		key, secret := w.key(user, models.CreateAPIKeyInput{
			ExpiresAt: ptr(w.clock.Now().Add(time.Minute)), AllowedCIDRs: []string{"10.0.0.0/8"},
		})
		want := func(kind models.Kind, code string) {
			t.Helper()
			w.clock.Add(10 * time.Second) // past the cache
			_, err := w.Authenticate(t.Context(), secret, local)
			wantCode(t, err, kind, code)
		}
		set := func(table, column string, value any, id string) {
			t.Helper()
			_, err := w.db.Write().NewRaw("UPDATE ? SET ? = ? WHERE id = ?", bun.Ident(table), bun.Ident(column), value, id).Exec(t.Context())
			if err != nil {
				t.Fatal(err)
			}
		}
		want(models.KindForbidden, models.CodeIPNotAllowed)
		set("users", "status", models.UserSuspended, user.UserID)
		want(models.KindForbidden, models.CodeAccountSuspended)
		w.clock.Add(time.Minute)
		want(models.KindUnauthenticated, models.CodeExpiredAPIKey)
		set("api_keys", "revoked_at", w.clock.Now(), key.ID)
		want(models.KindUnauthenticated, models.CodeRevokedAPIKey)
	})
}

func TestCacheForgetsOwnChangesAtOnce(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		user := w.user("a@example.com")
		key, secret := w.key(user, models.CreateAPIKeyInput{})
		if v := w.signIn(secret); len(v.Scopes) == 1 {
			t.Fatalf("scopes = %v", v.Scopes)
		}
		in := models.UpdateAPIKeyInput{Scopes: graphql.OmittableOf([]models.Scope{models.ScopeChat})}
		if p, err := w.UpdateAPIKey(t.Context(), user, key.ID, in); err != nil || p.Err() != nil {
			t.Fatal(err, p.Err())
		}
		if v := w.signIn(secret); len(v.Scopes) != 1 {
			t.Errorf("scopes = %v after the update", v.Scopes)
		}
		if _, err := w.DeleteAPIKey(t.Context(), user, key.ID); err != nil {
			t.Fatal(err)
		}
		_, err := w.Authenticate(t.Context(), secret, local)
		wantCode(t, err, models.KindUnauthenticated, models.CodeRevokedAPIKey)
	})
}

func TestCacheForgetsOthersChanges(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		user := w.user("a@example.com")
		key, secret := w.key(user, models.CreateAPIKeyInput{})
		other := accounts.New(w.db, accounts.Config{CacheTTL: time.Hour})
		stop := run(t, other)
		defer stop()
		if _, err := other.Authenticate(t.Context(), secret, local); err != nil {
			t.Fatal(err)
		}
		if _, err := w.DeleteAPIKey(t.Context(), user, key.ID); err != nil {
			t.Fatal(err)
		}
		eventually(t, 3*time.Second, func() bool {
			_, err := other.Authenticate(t.Context(), secret, local)
			return err != nil
		})
	})
}

// Without Run a change by another process counts when the time is over.
func TestCacheExpires(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		user := w.user("a@example.com")
		key, secret := w.key(user, models.CreateAPIKeyInput{})
		w.signIn(secret)
		unknown := accounts.NewSecret()
		_, err := w.Authenticate(t.Context(), unknown, local)
		wantCode(t, err, models.KindUnauthenticated, models.CodeInvalidAPIKey)

		other := w.another(accounts.Config{})
		if _, err := other.DeleteAPIKey(t.Context(), user, key.ID); err != nil {
			t.Fatal(err)
		}
		w.clock.Add(4 * time.Second)
		w.signIn(secret)
		w.clock.Add(2 * time.Second)
		_, err = w.Authenticate(t.Context(), secret, local)
		wantCode(t, err, models.KindUnauthenticated, models.CodeRevokedAPIKey)
	})
}

func TestCachesAreBounded(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.SetCacheSizes(128, 64)
		w.signIn(w.secret)
		for range 500 {
			_, err := w.Authenticate(t.Context(), accounts.NewSecret(), local)
			wantCode(t, err, models.KindUnauthenticated, models.CodeInvalidAPIKey)
		}
		known, unknown := w.Cached()
		if known != 1 || unknown == 0 || unknown > 64 {
			t.Errorf("cached %d known, %d unknown secrets; want 1 and at most 64", known, unknown)
		}
	})
}

func TestAuthenticateConcurrently(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		user := w.user("a@example.com")
		key, secret := w.key(user, models.CreateAPIKeyInput{})
		var wg sync.WaitGroup
		for range 32 {
			wg.Go(func() {
				for range 50 {
					if v, err := w.Authenticate(t.Context(), secret, local); err != nil || v.KeyID != key.ID {
						t.Errorf("Authenticate = %v, %v", v, err)
						return
					}
				}
			})
		}
		for i := range 5 {
			in := models.UpdateAPIKeyInput{Name: graphql.OmittableOf(ptr(strings.Repeat("n", i+1)))}
			if _, err := w.UpdateAPIKey(t.Context(), user, key.ID, in); err != nil {
				t.Error(err)
			}
		}
		wg.Wait()
	})
}

// The first caller of a shared look at the database may leave.
func TestAuthenticateWithEndedContext(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		_, secret := w.key(w.user("a@example.com"), models.CreateAPIKeyInput{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := w.Authenticate(ctx, secret, local); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("error = %v", err)
		}
		w.signIn(secret)
	})
}

func TestLastUsedIsWrittenOncePerMinute(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		user := w.user("a@example.com")
		key, secret := w.key(user, models.CreateAPIKeyInput{})
		flush := func() *time.Time {
			t.Helper()
			run(t, w.Service)() // its end writes
			k, err := w.APIKey(t.Context(), user, key.ID)
			if err != nil {
				t.Fatal(err)
			}
			return k.LastUsedAt
		}
		if at := flush(); at != nil {
			t.Fatalf("last used at %v before any use", at)
		}
		start := w.clock.Now()
		for _, c := range []struct{ use, want time.Duration }{
			{0, 0}, {time.Second, 0}, {59 * time.Second, 0},
			{60 * time.Second, 60 * time.Second}, {100 * time.Second, 60 * time.Second}, {121 * time.Second, 121 * time.Second},
		} {
			w.clock.Add(start.Add(c.use).Sub(w.clock.Now()))
			w.signIn(secret)
			if at := flush(); at == nil || !at.Equal(start.Add(c.want)) {
				t.Errorf("used after %v: written %v, want %v", c.use, at, start.Add(c.want))
			}
		}
	})
}

// run runs the service and gives what ends it and waits.
func run(t *testing.T, s *accounts.Service) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

func eventually(t *testing.T, most time.Duration, ok func() bool) {
	t.Helper()
	deadline, tick := time.After(most), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not so after %v", most)
		}
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	s := accounts.New(testdb.New(b, storage.SQLite), accounts.Config{CacheTTL: time.Hour})
	first, err := s.Bootstrap(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	ctx := b.Context()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := s.Authenticate(ctx, first.Secret, local); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
