package app_test

import (
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/coaidev/coai/internal/app"
)

var update = flag.Bool("update", false, "rewrite the README's table of settings")

func yamlFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "coai.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadTakesTheStrongestSource(t *testing.T) {
	file := yamlFile(t, "addr: 127.0.0.1:1\ndata_dir: /from/file\nlog_level: warn\n")
	for _, tc := range []struct {
		name string
		src  app.Sources
		addr string
		from string
	}{
		{"default", app.Sources{}, "127.0.0.1:8080", "default"},
		{"file", app.Sources{File: file}, "127.0.0.1:1", "coai.yaml:1"},
		{"file named by the environment", app.Sources{Environ: []string{"COAI_CONFIG=" + file}}, "127.0.0.1:1", "coai.yaml:1"},
		{"environment over file", app.Sources{File: file, Environ: []string{"COAI_ADDR=127.0.0.1:2"}}, "127.0.0.1:2", "environment"},
		{"an empty variable is absent", app.Sources{File: file, Environ: []string{"COAI_ADDR="}}, "127.0.0.1:1", "coai.yaml:1"},
		{"the last of repeated variables", app.Sources{Environ: []string{"COAI_ADDR=127.0.0.1:2", "COAI_ADDR=127.0.0.1:3"}}, "127.0.0.1:3", "environment"},
		{
			"flag over all",
			app.Sources{File: file, Environ: []string{"COAI_ADDR=127.0.0.1:2"}, Flags: map[string]string{"addr": ":4"}},
			":4", "flag",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg, err := app.Load(tc.src)
			if err != nil {
				t.Fatal(err)
			}
			if cfg.Addr != tc.addr {
				t.Errorf("Addr is %q, want %q", cfg.Addr, tc.addr)
			}
			if got := effective(cfg, "COAI_ADDR").Source; got != tc.from {
				t.Errorf("source is %q, want %q", got, tc.from)
			}
		})
	}
}

func effective(cfg *app.Config, name string) app.EffectiveSetting {
	for _, s := range cfg.EffectiveSettings() {
		if s.Name == name {
			return s
		}
	}
	return app.EffectiveSetting{}
}

func TestLoadReadsEveryType(t *testing.T) {
	cfg, err := app.Load(app.Sources{File: yamlFile(t, `
# a comment
max_body: 1MiB
memory_limit: "2GiB"
gogc: 200
worker: false
completion_timeout: 90s
cors_origins: [https://a.example, "https://b.example:8443"]
trusted_proxies:
  - 10.0.0.0/8
  - 192.0.2.7
database_url: postgres://u:p@db/coai
redis_url:
`)})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, got, want any }{
		{"MaxBody", cfg.MaxBody, app.Size(1 << 20)},
		{"MemoryLimit", cfg.MemoryLimit, app.Size(2 << 30)},
		{"GOGC", cfg.GOGC, 200},
		{"Worker", cfg.Worker, false},
		{"CompletionTimeout", cfg.CompletionTimeout, 90 * time.Second},
		{"CORSOrigins", cfg.CORSOrigins, []string{"https://a.example", "https://b.example:8443"}},
		{"TrustedProxies", cfg.TrustedProxies, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.7/32")}},
		{"Database", cfg.Database(), "postgres://u:p@db/coai"},
		{"RedisURL", cfg.RedisURL, ""},
		{"KeyRetention", cfg.KeyRetention, 90 * 24 * time.Hour},
	} {
		if !reflect.DeepEqual(c.got, c.want) {
			t.Errorf("%s is %v, want %v", c.name, c.got, c.want)
		}
	}
}

func TestDatabaseIsInTheDataDirectoryUnlessNamed(t *testing.T) {
	cfg, err := app.Load(app.Sources{Flags: map[string]string{"data-dir": "/srv/coai"}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := cfg.Database(), "sqlite:/srv/coai/coai.db"; got != want {
		t.Errorf("Database is %q, want %q", got, want)
	}
}

func TestLoadReportsAllMistakesAtOnce(t *testing.T) {
	file := yamlFile(t, "adr: :1\nmax_body: lots\nredis_url: {host: x}\nlog_level: info\nlog_level: warn\nshutdown_timeout: 30\n")
	_, err := app.Load(app.Sources{
		File: file,
		Environ: []string{
			"COAI_ADDR=8080", "COAI_WORKER=maybe", "COAI_MASTER_KEY=top-secret", "COAI_BOOTSTRAP_ADMIN_KEY=hunter2",
			"COAI_DATABASE_URL=mysql://root:swordfish@db/x", "COAI_TRUSTED_PROXIES=10.0.0.0/99",
			"COAI_ALLOW_PRIVATE_NETWORKS=everything", "COAI_GOGC=-1", "COAI_OTLP_ENDPOINT=collector:4318",
		},
		Flags: map[string]string{"log-format": "xml", "cors-origins": "example.com", "redis-url": "http://u:swordfish@cache", "data-dir": ""},
	})
	var config *app.ConfigError
	if !errors.As(err, &config) {
		t.Fatalf("error is %v, want a *ConfigError", err)
	}
	text := err.Error()
	for _, want := range []string{
		"adr (coai.yaml:1): is not a setting", "did you mean addr?",
		`max_body (coai.yaml:2): "lots" is not usable; allowed: a number of bytes`,
		"redis_url (coai.yaml:3): has a value that is nested",
		"log_level (coai.yaml:5): is given twice",
		`shutdown_timeout (coai.yaml:6): "30" is not usable; allowed: a duration`,
		`COAI_ADDR (environment): "8080" is not usable; allowed: host:port`,
		`COAI_WORKER (environment): "maybe" is not usable; allowed: true or false`,
		`COAI_MASTER_KEY (environment): "********" is not usable; allowed: 32 bytes`,
		`COAI_BOOTSTRAP_ADMIN_KEY (environment): "********" is not usable; allowed: 24 or more`,
		`COAI_DATABASE_URL (environment): "mysql://root:********@db/x" is not usable; allowed: sqlite:PATH`,
		`COAI_TRUSTED_PROXIES (environment): "10.0.0.0/99" is not usable`,
		`COAI_ALLOW_PRIVATE_NETWORKS (environment): "everything" is not usable`,
		`COAI_GOGC (environment): "-1" is not usable; allowed: more than 0`,
		`COAI_OTLP_ENDPOINT (environment):`,
		`--log-format (flag): "xml" is not usable; allowed: one of auto, json, console`,
		`--cors-origins (flag): "example.com" is not usable`,
		`--redis-url (flag): "http://u:********@cache" is not usable`,
		`--data-dir (flag): "" is not usable; allowed: any value but the empty one`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the error lacks %q", want)
		}
	}
	for _, secret := range []string{"top-secret", "hunter2", "swordfish"} {
		if strings.Contains(text, secret) {
			t.Errorf("the error tells the secret %q", secret)
		}
	}
	if got, want := len(config.Mistakes), 18; got != want {
		t.Errorf("%d mistakes, want %d:%s", got, want, text)
	}
}

func TestLoadNamesAFileThatCannotBeRead(t *testing.T) {
	for _, tc := range []struct{ name, file, want string }{
		{"missing", filepath.Join(t.TempDir(), "none.yaml"), "no such file"},
		{"not YAML", yamlFile(t, "addr: [1, 2\n"), "allowed: YAML"},
		{"no mapping", yamlFile(t, "- a\n- b\n"), "holds no mapping"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := app.Load(app.Sources{File: tc.file})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error is %v, want one with %q", err, tc.want)
			}
		})
	}
}

func TestUnknownVariablesAreWarnings(t *testing.T) {
	cfg, err := app.Load(app.Sources{Environ: []string{"COAI_ADR=:1", "COAI_SOMETHING_ELSE=1", "HOME=/root"}})
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(cfg.Warnings(), "\n")
	want := "the environment variable COAI_ADR is not a setting; did you mean COAI_ADDR?\n" +
		"the environment variable COAI_SOMETHING_ELSE is not a setting"
	if got != want {
		t.Errorf("warnings are\n%s\nwant\n%s", got, want)
	}
}

func TestEffectiveHidesSecrets(t *testing.T) {
	key := strings.Repeat("ab", 32)
	cfg, err := app.Load(app.Sources{Environ: []string{
		"COAI_MASTER_KEY=" + key, "COAI_BOOTSTRAP_ADMIN_KEY=correct-horse-battery-staple", "OPENAI_API_KEY=sk-upstream",
		"GEMINI_API_KEY=AIza-upstream",
		"ANTHROPIC_API_KEY=sk-ant-claude",
		"COAI_DATABASE_URL=postgres://coai:swordfish@db/coai?sslmode=disable&sslpassword=swordfish",
		"COAI_REDIS_URL=redis://:swordfish@cache:6379/1",
	}})
	if err != nil {
		t.Fatal(err)
	}
	text := cfg.Effective()
	for _, secret := range []string{key, "correct-horse", "sk-upstream", "sk-ant-claude", "AIza-upstream", "swordfish"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is printed:\n%s", secret, text)
		}
	}
	for name, want := range map[string]string{
		"COAI_DATABASE_URL":  "postgres://coai:********@db/coai?sslmode=disable&sslpassword=********",
		"COAI_REDIS_URL":     "redis://:********@cache:6379/1",
		"COAI_MASTER_KEY":    "********",
		"COAI_OTLP_ENDPOINT": "",
	} {
		if got := effective(cfg, name).Value; got != want {
			t.Errorf("%s is shown as %q, want %q", name, got, want)
		}
	}
}

func TestEverySettingIsDescribed(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range app.Settings() {
		if s.Env == "" || s.Group == "" || !strings.HasSuffix(s.Help, ".") {
			t.Errorf("%+v lacks a variable, a group or a sentence of help", s)
		}
		for _, name := range []string{"$" + s.Env, "--" + s.Flag, s.YAML} {
			if name == "--" {
				name = ""
			}
			if name != "" && seen[name] {
				t.Errorf("%s names two settings", name)
			}
			seen[name] = name != ""
		}
		if s.YAML != "" && (s.Env != "COAI_"+strings.ToUpper(s.YAML) || s.Flag != "" && s.Flag != strings.ReplaceAll(s.YAML, "_", "-")) {
			t.Errorf("%s, --%s and %s are not one name", s.Env, s.Flag, s.YAML)
		}
	}
	for _, name := range []string{
		"COAI_ADDR", "COAI_DATA_DIR", "COAI_DATABASE_URL", "COAI_REDIS_URL", "COAI_BOOTSTRAP_ADMIN_KEY",
		"COAI_MASTER_KEY", "COAI_ALLOW_PRIVATE_NETWORKS", "COAI_LOG_LEVEL", "COAI_LOG_FORMAT",
	} {
		if !seen["$"+name] {
			t.Errorf("%s is promised and missing", name)
		}
	}
}

// The README shows the table between two markers.
func TestReadmeTableIsUpToDate(t *testing.T) {
	const begin, end = "<!-- settings -->\n", "<!-- /settings -->"
	path := filepath.Join("..", "..", "README.md")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Skip("no README")
	}
	before, rest, found := strings.Cut(string(data), begin)
	old, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		t.Skip("the README has no markers for the table of settings")
	}
	table := (*app.Config)(nil).Table()
	if *update {
		if err := os.WriteFile(path, []byte(before+begin+table+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if old != table {
		t.Errorf("the README's table of settings is not what the program says; run: go test ./internal/app -run Readme -update\n%s", table)
	}
}

func TestParseSize(t *testing.T) {
	for _, tc := range []struct {
		text string
		want app.Size
		ok   bool
	}{
		{"", 0, true}, {"0", 0, true}, {"512", 512, true}, {"512B", 512, true}, {"64KiB", 64 << 10, true},
		{"20 MiB", 20 << 20, true}, {"2GiB", 2 << 30, true}, {"5kB", 5000, true}, {"5MB", 5_000_000, true},
		{"1GB", 1_000_000_000, true}, {"-1", 0, false}, {"1.5GiB", 0, false}, {"9999999999GiB", 0, false}, {"MiB", 0, false},
	} {
		got, err := app.ParseSize(tc.text)
		if got != tc.want || (err == nil) != tc.ok {
			t.Errorf("ParseSize(%q) = %d, %v; want %d, ok %t", tc.text, got, err, tc.want, tc.ok)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"", "1", "20MiB", "7kB", "1 GiB", "-3", "9223372036854775807B"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := app.ParseSize(text)
		if err != nil {
			return
		}
		if again, err := app.ParseSize(n.String()); err != nil || again != n {
			t.Errorf("ParseSize(%q) = %d, which prints as %q and reads as %d, %v", text, n, n, again, err)
		}
	})
}

func FuzzConfigFile(f *testing.F) {
	for _, s := range []string{
		"addr: :1\n", "cors_origins: [https://a.example]\n", "- x\n", "a: &b c\nd: *b\n", "? x\n: y\n", "max_body: 1e3", "---\n---\naddr: :2\n", "worker: |\n  true\n",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		cfg, err := app.Load(app.Sources{File: yamlFile(t, text)})
		var config *app.ConfigError
		if err == nil && cfg.Addr == "" || err != nil && !errors.As(err, &config) {
			t.Errorf("Load gives %v for %q", err, text)
		}
	})
}
