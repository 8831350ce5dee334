package accounts_test

import (
	"regexp"
	"testing"

	"github.com/coaidev/coai/internal/accounts"
)

func TestNewSecretsMatchThePattern(t *testing.T) {
	pattern := regexp.MustCompile(`^` + accounts.KeyPattern + `$`)
	seen := map[string]bool{}
	for range 1000 {
		s := accounts.NewSecret()
		if !pattern.MatchString(s) || !accounts.ParseKey(s) {
			t.Fatalf("%q is not a key", s)
		}
		if seen[s] {
			t.Fatalf("%q came twice", s)
		}
		seen[s] = true
	}
}

func TestParseKey(t *testing.T) {
	// The checksum is published: other programs compute it too.
	const zeros = "sk-coai-0000000000000000000000000000000000000000000"
	for secret, want := range map[string]bool{
		zeros + "1JqbGn": true,
		zeros + "1JqbG0": false,
		zeros:            false,
		"":               false,
		"sk-coai-":       false,
	} {
		if got := accounts.ParseKey(secret); got != want {
			t.Errorf("ParseKey(%q) = %v; want %v", secret, got, want)
		}
	}
}

// Every single typing error, and every swap of neighbours, is found.
func TestParseKeyFindsTypingErrors(t *testing.T) {
	secret := accounts.NewSecret()
	for i := range len(secret) {
		for _, c := range []byte("09azAZ- \x00é") {
			typo := secret[:i] + string(c) + secret[i+1:]
			if typo != secret && accounts.ParseKey(typo) {
				t.Errorf("%q passes for %q", typo, secret)
			}
		}
		if i > 0 && secret[i] != secret[i-1] {
			typo := secret[:i-1] + secret[i:i+1] + secret[i-1:i] + secret[i+1:]
			if accounts.ParseKey(typo) {
				t.Errorf("%q passes for %q", typo, secret)
			}
		}
	}
}

func FuzzParseKey(f *testing.F) {
	pattern := regexp.MustCompile(`^` + accounts.KeyPattern + `$`)
	f.Add(accounts.NewSecret())
	f.Add("sk-coai-")
	f.Add("")
	f.Fuzz(func(t *testing.T, secret string) {
		if accounts.ParseKey(secret) && !pattern.MatchString(secret) {
			t.Errorf("%q is taken for a key", secret)
		}
	})
}

func BenchmarkParseKey(b *testing.B) {
	secret := accounts.NewSecret()
	b.ReportAllocs()
	for b.Loop() {
		if !accounts.ParseKey(secret) {
			b.Fatal("not a key")
		}
	}
}
