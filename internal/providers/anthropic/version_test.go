package anthropic

import "testing"

func TestVersionOf(t *testing.T) {
	for name, want := range map[string]version{
		"claude-opus-5-5":                            505,
		"claude-fable-5":                             500,
		"claude-opus-4-6":                            406,
		"claude-opus-4-1":                            401,
		"claude-haiku-4-5-20251001":                  405,
		"claude-sonnet-4-20250514":                   400,
		"claude-3-7-sonnet-20250219":                 307,
		"claude-3-haiku-20240307":                    300,
		"claude-2.1":                                 201,
		"anthropic/claude-haiku-4.5":                 405,
		"us.anthropic.claude-sonnet-4-20250514-v1:0": 400,
		"claude-opus-4@20250514":                     400,
		"claude-latest":                              0,
		"kimi-k2":                                    0,
		"":                                           0,
	} {
		if got := versionOf(name); got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
}
