package chat

import (
	"testing"
	"time"

	"github.com/coaidev/coai/internal/channels"
	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/models"
)

func TestBackoffGrowsAndSpreads(t *testing.T) {
	for n, ms := range []int{250, 500, 1000, 2000, 4000, 5000, 5000} {
		want := time.Duration(ms) * time.Millisecond
		least, most := time.Hour, time.Duration(0)
		for range 1000 {
			got := backoff(n)
			least, most = min(least, got), max(most, got)
		}
		if least < want*79/100 || least > want*85/100 || most < want*115/100 || most > want*121/100 {
			t.Errorf("pause %d is between %s and %s; want %s, a fifth more or less", n, least, most, want)
		}
	}
	if got := backoff(1 << 30); got > 6*time.Second {
		t.Errorf("after many rounds the pause is %s", got)
	}
}

func TestWhatIsWorthAnotherRound(t *testing.T) {
	for name, c := range map[string]struct {
		passing  *providers.Error
		cooldown time.Duration
		least    time.Duration
		ok       bool
	}{
		"nothing may pass":         {nil, 0, 0, false},
		"a failure":                {&providers.Error{Class: providers.Unavailable}, 0, 200 * time.Millisecond, true},
		"a failure beside a limit": {&providers.Error{Class: providers.Unavailable}, time.Hour, 200 * time.Millisecond, true},
		"Retry-After":              {&providers.Error{Class: providers.Unavailable, Retry: 3 * time.Second}, 0, 3 * time.Second, true},
		"Retry-After that is long": {&providers.Error{Class: providers.Unavailable, Retry: 6 * time.Second}, 0, 6 * time.Second, false},
		"a limit that ends soon":   {nil, 2 * time.Second, 2 * time.Second, true},
		"a limit that does not":    {nil, 6 * time.Second, 6 * time.Second, false},
	} {
		j := &job{passing: c.passing, route: &channels.Route{Cooldown: c.cooldown}}
		if pause, ok := j.pause(); ok != c.ok || pause < c.least || pause > max(c.least, 300*time.Millisecond) {
			t.Errorf("%s: %s, %v", name, pause, ok)
		}
	}
	for class, want := range map[providers.Class]bool{
		providers.Unavailable: true, providers.Timeout: false, providers.Rejected: false, providers.Credential: false,
		providers.RateLimited: false, providers.NoModel: false, providers.Malformed: false, providers.Unusable: false, providers.Canceled: false,
	} {
		if got := transient(&providers.Error{Class: class}); got != want {
			t.Errorf("class %d may pass: %v", class, got)
		}
	}
	if !transient(&providers.Error{Class: providers.Timeout, Status: 504}) {
		t.Error("the upstream's own timeout may pass")
	}
}

// Prompts are told apart by their beginnings: what a conversation adds moves it nowhere.
func TestPromptAffinity(t *testing.T) {
	message := func(role models.MessageRole, text string) models.ChatMessage {
		return models.ChatMessage{Role: role, Content: models.TextContent(text)}
	}
	system, hi, bye := message(models.RoleMessageSystem, "Be kind."), message(models.RoleMessageUser, "hi"), message(models.RoleMessageUser, "bye")
	of := func(list ...models.ChatMessage) uint64 {
		return promptAffinity(&models.ChatCompletionInput{Model: "m", Messages: list})
	}
	if of(system, hi) != of(system, hi, message(models.RoleMessageAssistant, "hello"), bye) {
		t.Error("a second turn goes elsewhere")
	}
	if of(system, hi) == of(system, bye) || of(hi) == of(system, hi) {
		t.Error("other prompts are taken for the same")
	}
}
