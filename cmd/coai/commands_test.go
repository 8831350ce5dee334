package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/coaidev/coai/internal/coaitest"
	"github.com/coaidev/coai/internal/testdb"
)

// terminal runs commands on one data directory, as an operator does.
type terminal struct {
	t       *testing.T
	environ []string
	stdin   string
}

func newTerminal(t *testing.T, environ ...string) *terminal {
	t.Helper()
	return &terminal{t: t, environ: append([]string{"COAI_DATA_DIR=" + t.TempDir(), "COAI_LOG_FORMAT=json"}, environ...)}
}

// run gives the exit code and what was printed.
func (c *terminal) run(args ...string) (code int, out, errOut string) {
	var stdout, stderr bytes.Buffer
	code = run(c.t.Context(), args, process{environ: c.environ, in: strings.NewReader(c.stdin), out: &stdout, errOut: &stderr})
	return code, stdout.String(), stderr.String()
}

// ok runs a command that must succeed.
func (c *terminal) ok(args ...string) string {
	c.t.Helper()
	code, out, errOut := c.run(args...)
	if code != exitOK {
		c.t.Fatalf("coai %s: exit code %d\n%s%s", strings.Join(args, " "), code, out, errOut)
	}
	return out
}

// json runs a command with --json and decodes what it prints.
func (c *terminal) json(to any, args ...string) {
	c.t.Helper()
	out := c.ok(append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), to); err != nil {
		c.t.Fatalf("coai %s: %v in %s", strings.Join(args, " "), err, out)
	}
}

// refused runs a command that must fail with the code, and say why.
func (c *terminal) refused(code int, why string, args ...string) {
	c.t.Helper()
	got, out, errOut := c.run(args...)
	if got != code || !strings.Contains(errOut, why) {
		c.t.Errorf("coai %s: exit code %d, want %d with %q\n%s%s", strings.Join(args, " "), got, code, why, out, errOut)
	}
}

// backends runs a test on the embedded database and on PostgreSQL.
func backends(t *testing.T, test func(t *testing.T, c *terminal)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { test(t, newTerminal(t)) })
	t.Run("postgres", func(t *testing.T) { test(t, newTerminal(t, "COAI_DATABASE_URL="+testdb.Open(t, "postgres"))) })
}

type shownKey struct {
	ID, Name, Display, Secret string
	Scopes                    []string
	ExpiresAt                 *string `json:"expires_at"`
	RevokedAt                 *string `json:"revoked_at"`
}

func TestAccountsAndKeys(t *testing.T) {
	backends(t, func(t *testing.T, c *terminal) {
		var user struct{ ID, Email, Role, Tier string }
		c.json(&user, "admin", "create-user", "--email", "ada@example.com", "--name", "Ada", "--tier", "pro")
		if !strings.HasPrefix(user.ID, "user_") || user.Email != "ada@example.com" || user.Role != "user" || user.Tier != "pro" {
			t.Errorf("made %+v", user)
		}
		c.refused(exitFailure, "ada@example.com", "admin", "create-user", "--email", "ada@example.com")
		c.refused(exitUsage, "email", "admin", "create-user", "--email", "nobody")
		c.refused(exitUsage, "tier", "admin", "create-user", "--email", "b@example.com", "--tier", "gold")
		if out := c.ok("admin", "users"); !strings.Contains(out, "ada@example.com") || !strings.Contains(out, "EMAIL") {
			t.Errorf("users:\n%s", out)
		}

		var key shownKey
		c.json(&key, "keys", "create", "--user", "ada@example.com", "--name", "ci", "--scopes", "chat,models:read", "--expires", "2130-01-31")
		if !strings.HasPrefix(key.Secret, "sk-coai-") || !slices.Equal(key.Scopes, []string{"chat", "models:read"}) || key.ExpiresAt == nil || *key.ExpiresAt != "2130-01-31T00:00:00Z" {
			t.Errorf("made %+v", key)
		}
		out := c.ok("keys", "create", "--user", "ada@example.com")
		if last := strings.Split(strings.TrimSpace(out), "\n"); !regexp.MustCompile(`^sk-coai-[0-9A-Za-z]+$`).MatchString(last[len(last)-1]) {
			t.Errorf("the last line is no secret:\n%s", out)
		}
		c.refused(exitFailure, "nobody@example.com", "keys", "create", "--user", "nobody@example.com")
		c.refused(exitUsage, "scope", "keys", "create", "--user", "ada@example.com", "--scopes", "all")
		c.refused(exitUsage, "--expires", "keys", "create", "--user", "ada@example.com", "--expires", "soon")
		c.refused(exitUsage, "future", "keys", "create", "--user", "ada@example.com", "--expires", "2001-01-01")

		var rotated shownKey
		c.json(&rotated, "keys", "rotate", key.ID, "--grace", "1h")
		if rotated.ID != key.ID || rotated.Secret == key.Secret || rotated.Secret == "" {
			t.Errorf("rotated to %+v", rotated)
		}
		c.ok("keys", "revoke", key.ID)
		var list []shownKey
		c.json(&list, "keys", "list", "--user", "ada@example.com")
		if len(list) != 1 || list[0].ID == key.ID || list[0].Secret != "" || list[0].RevokedAt != nil {
			t.Errorf("live keys: %+v", list)
		}
		c.json(&list, "keys", "list", "--user", "ada@example.com", "--revoked")
		if len(list) != 1 || list[0].ID != key.ID || list[0].RevokedAt == nil {
			t.Errorf("revoked keys: %+v", list)
		}
		c.refused(exitFailure, "key_none", "keys", "revoke", "key_none")
	})
}

func TestAdminOfAccounts(t *testing.T) {
	backends(t, func(t *testing.T, c *terminal) {
		const ada = "ada@example.com"
		type user struct{ ID, Email, Name, Role, Tier, Status string }
		var u user
		c.json(&u, "admin", "create-user", "--email", "root@example.com", "--role", "admin")
		c.json(&u, "admin", "create-user", "--email", ada)
		c.json(&u, "admin", "update-user", ada, "--name", "Ada", "--tier", "pro", "--role", "admin", "--email", "Ada@new.example")
		if u.Name != "Ada" || u.Tier != "pro" || u.Role != "admin" || u.Email != "ada@new.example" {
			t.Errorf("updated to %+v", u)
		}
		c.json(&u, "admin", "update-user", "ADA@new.example", "--email", ada)
		c.refused(exitUsage, "nothing to change", "admin", "update-user", ada)
		c.refused(exitUsage, "role", "admin", "update-user", ada, "--role", "king")
		if c.json(&u, "admin", "suspend", ada); u.Status != "suspended" {
			t.Errorf("suspended to %+v", u)
		}
		c.refused(exitFailure, "last active admin", "admin", "suspend", "root@example.com")
		c.refused(exitFailure, "last active admin", "admin", "delete-user", "root@example.com")
		var list []user
		if c.json(&list, "admin", "users", "--status", "suspended", "--q", "ADA", "--role", "admin", "--tier", "pro"); len(list) != 1 || list[0].Email != ada {
			t.Errorf("users: %+v", list)
		}
		c.refused(exitUsage, "tier", "admin", "users", "--tier", "gold")
		if c.json(&u, "admin", "unsuspend", ada); u.Status != "active" {
			t.Errorf("unsuspended to %+v", u)
		}

		lines := strings.Split(strings.TrimSpace(c.ok("admin", "reset-password", ada)), "\n")
		if made := lines[len(lines)-1]; len(made) < 20 || strings.Contains(made, " ") {
			t.Errorf("the last line is no password: %q", lines)
		}
		c.stdin = "correct horse battery\n"
		if out := c.ok("admin", "reset-password", ada, "--stdin"); strings.Contains(out, "horse") {
			t.Errorf("printed %s", out)
		}
		c.stdin = "short\n"
		c.refused(exitUsage, "8 to 256", "admin", "reset-password", ada, "--stdin")
		c.stdin = ""
		c.refused(exitUsage, "no password", "admin", "reset-password", ada, "--stdin")
		c.refused(exitFailure, "nobody@example.com", "admin", "reset-password", "nobody@example.com")

		var money struct {
			Budgets []struct {
				Period string
				Limit  struct{ Value float64 }
			}
			Balance *struct{ Value float64 }
		}
		if c.json(&money, "admin", "budgets", ada, "--monthly", "50", "--daily", "2.5"); len(money.Budgets) != 2 || money.Balance != nil {
			t.Errorf("budgets: %+v", money)
		}
		if c.json(&money, "admin", "budgets", ada, "--daily", "none"); len(money.Budgets) != 1 || money.Budgets[0].Period != "month" || money.Budgets[0].Limit.Value != 50 {
			t.Errorf("budgets: %+v", money)
		}
		c.refused(exitUsage, "--total", "admin", "budgets", ada, "--total", "much")
		var entries []struct {
			Amount, Balance struct{ Value float64 }
			Note            string
		}
		c.ok("admin", "balance", ada, "--add", "25", "--note", "invoice 17")
		if c.json(&entries, "admin", "balance", ada, "--add=-5"); len(entries) != 2 || entries[0].Amount.Value != -5 || entries[0].Balance.Value != 20 || entries[1].Note != "invoice 17" {
			t.Errorf("balance: %+v", entries)
		}
		c.refused(exitUsage, "--add", "admin", "balance", ada, "--add", "0")
		if out := c.ok("admin", "budgets", ada); !strings.Contains(out, "balance") || !strings.Contains(out, "$20") {
			t.Errorf("budgets:\n%s", out)
		}
		if out := c.ok("admin", "delete-user", ada); !strings.Contains(out, u.ID) {
			t.Errorf("deleted: %s", out)
		}
		c.refused(exitFailure, ada, "admin", "budgets", ada)
	})
}

func TestChannels(t *testing.T) {
	backends(t, func(t *testing.T, c *terminal) {
		up := coaitest.NewUpstream(t, coaitest.Whole("OK"))
		c.environ = append(c.environ, "VENDOR_KEY="+coaitest.UpstreamKey)
		type channel struct {
			ID, Status string
			Credential *string
			Models     []string
			Priority   int
			Weight     int
		}
		var made channel
		c.json(&made, "channels", "create", "--name", "vendor", "--type", "openai", "--base-url", up.URL+"/v1", "--models", "gpt-test,small",
			"--model-mapping", "small=tiny", "--credential-env", "VENDOR_KEY", "--priority", "3")
		if made.Credential == nil || *made.Credential != "****6789" || made.Status != "enabled" || made.Priority != 3 || len(made.Models) != 2 {
			t.Errorf("made %+v", made)
		}
		var result struct {
			Success bool
			Model   string
		}
		c.json(&result, "channels", "test", made.ID, "--model", "small")
		if !result.Success || result.Model != "small" {
			t.Errorf("tested %+v", result)
		}
		call := up.Calls()[0]
		if call.Header.Get("Authorization") != "Bearer "+coaitest.UpstreamKey || !bytes.Contains(call.Body, []byte(`"tiny"`)) {
			t.Errorf("the upstream got %s %s", call.Header, call.Body)
		}

		up.Then(coaitest.Status(http.StatusUnauthorized, "application/json", `{"error":{"message":"Incorrect API key provided: `+coaitest.UpstreamKey+`","code":"invalid_api_key"}}`))
		code, out, errOut := c.run("channels", "test", made.ID)
		if code != exitFailure || !strings.Contains(out, "credential") || strings.Contains(out+errOut, coaitest.UpstreamKey) {
			t.Errorf("exit code %d\n%s%s", code, out, errOut)
		}

		var changed channel
		c.json(&changed, "channels", "update", made.ID, "--weight", "7")
		if changed.Weight != 7 || changed.Priority != 3 || changed.Credential == nil {
			t.Errorf("changed to %+v", changed)
		}
		c.json(&changed, "channels", "disable", made.ID)
		if changed.Status != "disabled" {
			t.Errorf("disabled: %+v", changed)
		}
		c.ok("channels", "enable", made.ID)
		c.stdin = "sk-from-the-pipe-0001\n"
		c.json(&changed, "channels", "update", made.ID, "--credential-stdin")
		if changed.Credential == nil || *changed.Credential != "****0001" {
			t.Errorf("credential %v", changed.Credential)
		}
		if out := c.ok("channels", "list"); !strings.Contains(out, "vendor") || strings.Contains(out, "from-the-pipe") {
			t.Errorf("list:\n%s", out)
		}
		c.refused(exitUsage, "VENDOR_NONE", "channels", "update", made.ID, "--credential-env", "VENDOR_NONE")
		c.stdin = ""
		c.refused(exitUsage, "empty", "channels", "update", made.ID, "--credential-stdin")
		c.refused(exitUsage, "type", "channels", "create", "--name", "x", "--type", "carrier-pigeon", "--models", "m")
		c.refused(exitUsage, "preset", "channels", "create", "--name", "x", "--models", "m")
		c.refused(exitUsage, "preset", "channels", "create", "--name", "x", "--preset", "nobody", "--models", "m")
		var local struct{ Type, BaseURL string }
		c.json(&local, "channels", "create", "--name", "local", "--preset", "vllm", "--models", "m")
		if local.Type != "openai" {
			t.Errorf("made from a preset: %+v", local)
		}
		c.refused(exitUsage, "weight", "channels", "update", made.ID, "--weight", "0")
		c.ok("channels", "delete", made.ID)
		c.refused(exitFailure, made.ID, "channels", "delete", made.ID)
	})
}

func TestMigrate(t *testing.T) {
	backends(t, func(t *testing.T, c *terminal) {
		type migration struct {
			Version   int64
			AppliedAt *string `json:"applied_at"`
		}
		var list []migration
		c.json(&list, "migrate", "status")
		if len(list) == 0 || list[0].AppliedAt != nil {
			t.Fatalf("on an empty database: %+v", list)
		}
		c.refused(exitFailure, "coai migrate", "keys", "list", "--user", "a@example.com", "--auto-migrate=false")
		if out := c.ok("migrate"); strings.HasPrefix(out, "0 ") {
			t.Errorf("migrate: %s", out)
		}
		if out := c.ok("migrate", "up"); !strings.HasPrefix(out, "0 ") {
			t.Errorf("again: %s", out)
		}
		c.json(&list, "migrate", "status")
		for _, m := range list {
			if m.AppliedAt == nil {
				t.Errorf("migration %d is not applied", m.Version)
			}
		}
		c.ok("migrate", "down", "--to", "0")
		c.json(&list, "migrate", "status")
		if list[0].AppliedAt != nil {
			t.Errorf("after down: %+v", list)
		}
		c.refused(exitUsage, "--to", "migrate", "down", "--to", "-1")
		c.refused(exitUsage, "to", "migrate", "down")
	})
}

func TestConfigCommand(t *testing.T) {
	c := newTerminal(t, "COAI_BOOTSTRAP_ADMIN_KEY=a-very-secret-bootstrap-key", "COAI_DATABASE_URL=postgres://coai:hidden@127.0.0.1:1/coai")
	file := filepath.Join(t.TempDir(), "coai.yaml")
	if err := os.WriteFile(file, []byte("addr: 127.0.0.1:9999\nlog_level: warn\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := c.ok("config", "--config", file, "--log-level", "error")
	for _, want := range []string{"127.0.0.1:9999", "error"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	for _, secret := range []string{"a-very-secret", "hidden"} {
		if strings.Contains(out, secret) {
			t.Errorf("the secret %q is in\n%s", secret, out)
		}
	}
	if out := c.ok("config", "--check"); out != "" {
		t.Errorf("--check printed %q", out)
	}
	// All mistakes at once.
	c.environ = append(c.environ, "COAI_MAX_BODY=lots", "COAI_ADDR=nowhere", "COAI_LOG_LEVEL=loud", "COAI_REDIS_URL=http://x")
	code, _, errOut := c.run("config", "--check")
	if code != exitUsage {
		t.Errorf("exit code %d", code)
	}
	for _, name := range []string{"COAI_MAX_BODY", "COAI_ADDR", "COAI_LOG_LEVEL", "COAI_REDIS_URL"} {
		if !strings.Contains(errOut, name) {
			t.Errorf("%s is not named in\n%s", name, errOut)
		}
	}
}

// Each command explains itself, without touching anything.
func TestHelp(t *testing.T) {
	c := newTerminal(t, "COAI_DATABASE_URL=nonsense")
	var walk func(cmd *cobra.Command, path []string)
	walk = func(cmd *cobra.Command, path []string) {
		out := c.ok(append(slices.Clone(path), "--help")...)
		if !strings.Contains(out, "Usage:") || cmd.Short == "" || cmd.Runnable() && len(path) > 1 && cmd.Args == nil {
			t.Errorf("coai %s --help:\n%s", strings.Join(path, " "), out)
		}
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() && sub.Name() != "help" {
				walk(sub, append(slices.Clone(path), sub.Name()))
			}
		}
	}
	walk((&cli{}).root(), nil)
	if out := c.ok("version"); strings.TrimSpace(out) == "" {
		t.Error("version prints nothing")
	}
	c.refused(exitUsage, "--help", "sreve")
	c.refused(exitUsage, "--help", "keys", "list")
	c.refused(exitUsage, "unknown flag", "serve", "--port", "80")
}
