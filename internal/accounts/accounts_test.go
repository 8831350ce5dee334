package accounts_test

import (
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/coaidev/coai/internal/accounts"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/internal/testdb"
	"github.com/coaidev/coai/models"
)

// clock is a clock that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// world is a service with its first admin.
type world struct {
	*accounts.Service
	t      *testing.T
	db     *storage.DB
	clock  *clock
	admin  *models.Viewer
	secret string // the admin's
}

func each(t *testing.T, fn func(t *testing.T, w *world)) {
	t.Helper()
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		w := &world{t: t, db: db, clock: newClock()}
		w.Service = w.another(accounts.Config{})
		first, err := w.Bootstrap(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		w.secret = first.Secret
		w.admin = w.signIn(first.Secret)
		fn(t, w)
	})
}

// another is a second process on the same database.
func (w *world) another(cfg accounts.Config) *accounts.Service {
	s := accounts.New(w.db, cfg)
	s.SetClock(w.clock.Now)
	return s
}

func (w *world) signIn(secret string) *models.Viewer {
	w.t.Helper()
	v, err := w.Authenticate(w.t.Context(), secret, local)
	if err != nil {
		w.t.Fatalf("Authenticate: %v", err)
	}
	return v
}

// user makes an account and gives a viewer with all scopes of a user.
func (w *world) user(email string) *models.Viewer {
	w.t.Helper()
	u, err := w.MakeUser(w.t.Context(), models.CreateUserInput{Email: email, Name: "U"})
	if err != nil {
		w.t.Fatal(err)
	}
	return accounts.Operator(u)
}

// key makes a key.
func (w *world) key(v *models.Viewer, in models.CreateAPIKeyInput) (*models.APIKey, string) {
	w.t.Helper()
	if in.Name == "" {
		in.Name = "k"
	}
	p, err := w.CreateAPIKey(w.t.Context(), v, in)
	if err == nil {
		err = p.Err()
	}
	if err != nil {
		w.t.Fatalf("CreateAPIKey: %v", err)
	}
	return p.APIKey, *p.Secret
}

var local = netip.MustParseAddr("127.0.0.1")

// wantCode checks that err is a *models.Error with this kind and code.
func wantCode(t *testing.T, err error, kind models.Kind, code string) *models.Error {
	t.Helper()
	var e *models.Error
	if !errors.As(err, &e) {
		t.Fatalf("error is %v; want code %s", err, code)
	}
	if e.Kind != kind || e.Code != code {
		t.Fatalf("error is %v of kind %d; want code %s, kind %d", e, e.Kind, code, kind)
	}
	return e
}

func ptr[T any](v T) *T { return &v }
