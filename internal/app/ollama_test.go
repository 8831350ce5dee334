package app_test

import (
	"testing"

	"github.com/coaidev/coai/internal/app"
)

func TestOllamaHost(t *testing.T) {
	for host, want := range map[string]string{
		"":                       "http://127.0.0.1:11434",
		"127.0.0.1":              "http://127.0.0.1:11434",
		"localhost:1234":         "http://127.0.0.1:1234",
		":9000":                  "http://127.0.0.1:9000",
		"0.0.0.0":                "http://127.0.0.1:11434",
		"0.0.0.0:11435":          "http://127.0.0.1:11435",
		"[::1]:11434":            "http://[::1]:11434",
		"[::]":                   "http://127.0.0.1:11434",
		"http://localhost":       "http://127.0.0.1:80",
		"https://localhost/ai/":  "https://127.0.0.1:443/ai",
		"http://127.0.0.1:11434": "http://127.0.0.1:11434",
		"ollama.example.com":     "",
		"http://10.0.0.7:11434":  "",
		"169.254.169.254":        "",
		"unix:///run/x":          "",
	} {
		if got := app.OllamaURL(host); got != want {
			t.Errorf("%q: got %q, want %q", host, got, want)
		}
	}
}
