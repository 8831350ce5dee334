package accounts_test

import (
	"context"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/coaidev/coai/internal/accounts"
	"github.com/coaidev/coai/internal/ratelimit"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/internal/testdb"
	"github.com/coaidev/coai/models"
)

const password = "correct horse battery"

// browser is a client that keeps the token of its session.
type browser struct {
	*models.Client
	token string
}

func newBrowser(address string) *browser {
	b := &browser{Client: &models.Client{Address: netip.MustParseAddr(address), UserAgent: "Test/1.0", Cookies: func() bool { return true }}}
	b.SetSession = func(token string, _ time.Time) { b.token = token }
	return b
}

// person is a user with the password.
func (w *world) person(email string) *models.User {
	w.t.Helper()
	u, err := w.MakeUser(w.t.Context(), models.CreateUserInput{Email: email, Password: ptr(password)})
	if err != nil {
		w.t.Fatal(err)
	}
	return u
}

func (w *world) enter(email string) *browser {
	w.t.Helper()
	b := newBrowser("127.0.0.1")
	if _, err := w.SignIn(w.t.Context(), b.Client, models.SignInInput{Email: email, Password: password}); err != nil {
		w.t.Fatal(err)
	}
	return b
}

// What a sign-in costs says nothing about the account: one hash always.
func TestSignInTakesOneHash(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		w.person("a@example.com")
		w.user("keyless@example.com")
		suspended := w.person("s@example.com")
		if _, err := w.UpdateUser(t.Context(), w.admin, suspended.ID, models.UpdateUserInput{Status: models.OmittableOf(ptr(models.UserSuspended))}); err != nil {
			t.Fatal(err)
		}
		var messages []string
		for _, c := range []struct{ email, password, code string }{
			{"a@example.com", "wrong wrong", models.CodeInvalidCredentials},
			{"nobody@example.com", "wrong wrong", models.CodeInvalidCredentials},
			{"keyless@example.com", "wrong wrong", models.CodeInvalidCredentials},
			{"s@example.com", "wrong wrong", models.CodeInvalidCredentials},
			{"s@example.com", password, models.CodeAccountSuspended},
			{"a@example.com", password, ""},
		} {
			before := w.Hashes()
			_, err := w.SignIn(t.Context(), newBrowser("127.0.0.1").Client, models.SignInInput{Email: c.email, Password: c.password})
			e, _ := models.AsError(err)
			if c.code == "" && err != nil || c.code != "" && e.Code != c.code {
				t.Errorf("%s: %v", c.email, err)
			}
			if c.code == models.CodeInvalidCredentials {
				messages = append(messages, e.Error())
			}
			if n := w.Hashes() - before; n != 1 {
				t.Errorf("%s: %d hashes", c.email, n)
			}
		}
		for _, m := range messages {
			if m != messages[0] {
				t.Errorf("%q is not %q", m, messages[0])
			}
		}
		// A reset does nothing before the answer, whoever it is for.
		for _, email := range []string{"a@example.com", "nobody@example.com"} {
			p, err := w.RequestPasswordReset(t.Context(), newBrowser("127.0.0.1").Client, models.EmailInput{Email: email})
			if err != nil || !p.Accepted {
				t.Errorf("%s: %v", email, err)
			}
		}
		if err := w.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestSignInIsLimited(t *testing.T) {
	t.Parallel()
	limiters := map[string]func(t *testing.T) *ratelimit.Limiter{
		"memory": func(*testing.T) *ratelimit.Limiter { return ratelimit.NewMemory() },
		"redis": func(t *testing.T) *ratelimit.Limiter {
			r, err := storage.OpenRedis(t.Context(), testdb.Redis(t))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = r.Close() })
			return ratelimit.NewRedis(r.Client, zerolog.Nop())
		},
	}
	for name, limiter := range limiters {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := accounts.New(testdb.New(t, "sqlite"), accounts.Config{Limiter: limiter(t)})
			try := func(email, address string) string {
				_, err := s.SignIn(t.Context(), newBrowser(address).Client, models.SignInInput{Email: email, Password: "wrong wrong"})
				e, _ := models.AsError(err)
				return e.Code
			}
			// The minute may turn in between, once.
			refused := 0
			for i := range 25 {
				if try("a@example.com", "10.0.0."+string(rune('1'+i%9))) == models.CodeRateLimitExceeded {
					refused++
				}
			}
			if refused < 5 {
				t.Errorf("of 25 attempts at an account %d are refused", refused)
			}
			before := s.Hashes()
			if code := try("A@EXAMPLE.COM", "10.0.0.99"); code != models.CodeRateLimitExceeded && s.Hashes() == before {
				t.Errorf("another case of the address: %s", code)
			}
			if code := try("b@example.com", "10.0.0.99"); code != models.CodeInvalidCredentials {
				t.Errorf("another account: %s", code)
			}
		})
	}
}

func TestSessionsEnd(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		w.person("a@example.com")
		code := func(s *accounts.Service, token string) string {
			_, err := s.AuthenticateSession(t.Context(), token)
			if err == nil {
				return ""
			}
			e, _ := models.AsError(err)
			return e.Code
		}
		idle, busy := w.enter("a@example.com"), w.enter("a@example.com")
		v, err := w.AuthenticateSession(t.Context(), busy.token)
		if err != nil || v.SessionID == "" || v.KeyID != "" || v.IsAdmin() || v.Require(models.ScopeKeys) != nil {
			t.Fatalf("viewer %+v, %v", v, err)
		}
		for day := range 29 {
			w.clock.Add(24 * time.Hour)
			if c := code(w.Service, busy.token); c != "" {
				t.Fatalf("day %d: %s", day, c)
			}
			if err := w.FlushUses(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		another := w.another(accounts.Config{})
		if a, b := code(another, idle.token), code(another, busy.token); a != models.CodeExpiredSession || b != "" {
			t.Errorf("after 29 days: %q for an idle session, %q for a busy one", a, b)
		}
		if n, err := w.PurgeExpired(t.Context(), w.clock.Now()); err != nil || n != 1 {
			t.Errorf("purged %d, %v", n, err)
		}
		w.clock.Add(24 * time.Hour)
		if c := code(w.Service, busy.token); c != models.CodeExpiredSession {
			t.Errorf("after 30 days: %q", c)
		}
		for _, bad := range []string{"", "x", busy.token + "x", strings.Repeat("x", 43), w.secret} {
			if c := code(w.Service, bad); c != models.CodeInvalidSession {
				t.Errorf("%.5s…: %q", bad, c)
			}
		}
		if _, err := w.Authenticate(t.Context(), busy.token, local); err == nil {
			t.Error("a session's token is taken for an API key")
		}
	})
}

// What ends sessions in one process does so within a second in others.
func TestSessionsEndElsewhere(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		u := w.person("a@example.com")
		there := w.another(accounts.Config{CacheTTL: time.Hour})
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = there.Run(ctx) })
		defer running.Wait()
		defer stop()
		refused := func(token, want string) {
			t.Helper()
			deadline := time.After(10 * time.Second)
			for {
				_, err := there.AuthenticateSession(t.Context(), token)
				if e, _ := models.AsError(err); err != nil && e.Code == want {
					return
				}
				select {
				case <-deadline:
					t.Fatalf("not refused elsewhere: %v", err)
				case <-time.After(10 * time.Millisecond):
				}
			}
		}
		one := w.enter("a@example.com")
		v, err := there.AuthenticateSession(t.Context(), one.token)
		if err != nil {
			t.Fatal(err)
		}
		if p, err := w.SignOut(t.Context(), v, one.Client); err != nil || !p.SignedOut || one.token != "" {
			t.Errorf("signed out %+v, %v", p, err)
		}
		two := w.enter("a@example.com")
		if _, err := there.AuthenticateSession(t.Context(), two.token); err != nil {
			t.Fatal(err)
		}
		if _, err := w.UpdateUser(t.Context(), w.admin, u.ID, models.UpdateUserInput{Status: models.OmittableOf(ptr(models.UserSuspended))}); err != nil {
			t.Fatal(err)
		}
		refused(two.token, models.CodeAccountSuspended)
	})
}

func TestHashesAreMadeAnewAtAnotherCost(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, w *world) {
		u := w.person("a@example.com")
		row := func() *models.User {
			got := new(models.User)
			if err := w.db.Read().NewSelect().Model(got).Where("id = ?", u.ID).Scan(t.Context()); err != nil {
				t.Fatal(err)
			}
			return got
		}
		now := *row().PasswordHash
		if !strings.HasPrefix(now, "$argon2id$v=19$m=19456,t=2,p=1$") || strings.Contains(now, "horse") {
			t.Errorf("stored %s", now)
		}
		cheap := accounts.HashAt(password, 1024, 1, 1)
		if _, err := w.db.Write().NewUpdate().Model((*models.User)(nil)).Set("password_hash = ?", cheap).Where("id = ?", u.ID).Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.enter("a@example.com")
		if got := *row().PasswordHash; got == cheap || !strings.HasPrefix(got, "$argon2id$v=19$m=19456,t=2,p=1$") {
			t.Errorf("still %s", got)
		}
		w.enter("a@example.com") // by the new one
	})
}

// At most a hundred sessions are kept: the oldest go.
func TestSessionsAreBounded(t *testing.T) {
	t.Parallel()
	db := testdb.New(t, "sqlite")
	s := accounts.New(db, accounts.Config{})
	u, err := s.MakeUser(t.Context(), models.CreateUserInput{Email: "a@example.com", Password: ptr(password)})
	if err != nil {
		t.Fatal(err)
	}
	old := time.Now().UTC().Truncate(time.Microsecond)
	for i := range 100 {
		row := &models.Session{ID: models.SessionPrefix + "00" + string(rune('a'+i/26)) + string(rune('a'+i%26)), UserID: u.ID, Hash: []byte{byte(i)}, CreatedAt: old, LastSeenAt: old, ExpiresAt: old.Add(time.Hour)}
		if _, err := db.Write().NewInsert().Model(row).Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.SignIn(t.Context(), newBrowser("::1").Client, models.SignInInput{Email: "a@example.com", Password: password}); err != nil {
		t.Fatal(err)
	}
	list, err := s.Sessions(t.Context(), accounts.Operator(u), models.PageArgs{})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := list.TotalCount(t.Context()); err != nil || n != 100 || list.Edges[0].Node.Address != "::1" {
		t.Errorf("%d sessions, %v", n, err)
	}
}

func TestSignInOverAWebsocketIsRefused(t *testing.T) {
	t.Parallel()
	s := accounts.New(testdb.New(t, "sqlite"), accounts.Config{SignUp: models.SignUpOpen})
	c := new(models.Client)
	if _, err := s.SignIn(t.Context(), c, models.SignInInput{Email: "a@example.com", Password: password}); err == nil {
		t.Error("signed in without a cookie")
	}
	if _, err := s.SignUp(t.Context(), c, models.SignUpInput{Email: "a@example.com", Password: password}); err == nil {
		t.Error("signed up without a cookie")
	}
	if s.Hashes() != 0 {
		t.Error("made a hash for it")
	}
}

func TestClosedDatabasesAndCancelledContexts(t *testing.T) {
	t.Parallel()
	db := testdb.New(t, "sqlite")
	s := accounts.New(db, accounts.Config{SignUp: models.SignUpOpen})
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	b := newBrowser("127.0.0.1")
	if _, err := s.SignUp(gone, b.Client, models.SignUpInput{Email: "a@example.com", Password: password}); err == nil {
		t.Error("signed up after leaving")
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for name, do := range map[string]func() error{
		"sign in": func() error {
			_, err := s.SignIn(t.Context(), b.Client, models.SignInInput{Email: "a@example.com", Password: password})
			return err
		},
		"session": func() error { _, err := s.AuthenticateSession(t.Context(), strings.Repeat("x", 43)); return err },
		"verify":  func() error { _, err := s.VerifyEmail(t.Context(), models.TokenInput{Token: "x"}); return err },
		"purge":   func() error { _, err := s.PurgeExpired(t.Context(), time.Now()); return err },
		"sign out": func() error {
			_, err := s.SignOut(t.Context(), &models.Viewer{SessionID: "ses_1"}, b.Client)
			return err
		},
	} {
		if err := do(); err == nil {
			t.Errorf("%s succeeds without a database", name)
		} else if _, known := models.AsError(err); known {
			t.Errorf("%s blames the client: %v", name, err)
		}
	}
}

// What SECURITY.md and the README publish for secret scanners is what keys are.
func TestThePublishedPatternIsThatOfKeys(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"SECURITY.md", "README.md"} {
		text, err := os.ReadFile("../../" + name)
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(`\\bsk-coai-\S+\\b`).FindString(string(text))
		if found != `\b`+accounts.KeyPattern+`\b` {
			t.Errorf("%s publishes %q", name, found)
		}
		pattern := regexp.MustCompile(found)
		for range 100 {
			if secret := accounts.NewSecret(); pattern.FindString("x="+secret+";") != secret {
				t.Errorf("%s does not find %s", name, secret)
			}
		}
	}
}

func TestLocalPaths(t *testing.T) {
	t.Parallel()
	for p, want := range map[string]bool{
		"/": true, "/chat?x=1#y": true, "/a//b": true,
		"": false, "a": false, "//a": false, `/\a`: false, "/ a": false, "/\na": false, "https://a": false, "/\x7f": false,
		"/%2f/a": false, "/" + strings.Repeat("a", 1000): false, "/ä": false,
	} {
		if got := accounts.LocalPath(p); got != want {
			t.Errorf("%q: %v", p, got)
		}
	}
}

func FuzzParseHash(f *testing.F) {
	f.Add("$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$RdescudvJCsgt3ub+b+dWRWJTmaaJObG")
	f.Add("$argon2id$v=19$m=4294967295,t=1,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub")
	f.Add("$2a$10$x")
	f.Fuzz(func(t *testing.T, s string) {
		again, err := accounts.ParseHash(s)
		if err != nil {
			return
		}
		if twice, err := accounts.ParseHash(again); err != nil || twice != again {
			t.Errorf("%q becomes %q, and that %q, %v", s, again, twice, err)
		}
	})
}
