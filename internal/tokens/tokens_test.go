package tokens_test

import (
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/coaidev/coai/internal/tokens"
	"github.com/coaidev/coai/models"
)

// The numbers are those of OpenAI's own tokenizer.
func TestCount(t *testing.T) {
	tests := []struct {
		text string
		want int64
	}{
		{"", 0},
		{"hello world", 2},
		{"Hello, world!", 4},
		{"antidisestablishmentarianism", 6},
		{"2 + 2 = 4", 7},
		{"お誕生日おめでとう", 8},
		{"<|endoftext|>", 7},
		{" ", 1},
		{"\n\n\n", 1},
	}
	for _, test := range tests {
		if got := tokens.Count(test.text); got != test.want {
			t.Errorf("Count(%q) = %d, want %d", test.text, got, test.want)
		}
	}
}

func TestCountLong(t *testing.T) {
	sentence := "The quick brown fox jumps over the lazy dog. "
	const times = 4000
	one := tokens.Count(sentence) - tokens.Count(" ")
	if got, want := tokens.Count(strings.Repeat(sentence, times)), one*times+1; got != want {
		t.Errorf("got %d tokens, want %d", got, want)
	}
}

// Nothing that a client can send may hold the tokenizer for long.
func TestCountHostile(t *testing.T) {
	const size = 256 << 10
	fill := func(s string) string { return strings.Repeat(s, size/len(s)) }
	tokens.Count("warm up")
	for name, text := range map[string]string{
		"one letter":    fill("a"),
		"capitals":      fill("A"),
		"digits":        fill("7"),
		"spaces":        fill(" "),
		"tabs, newline": fill("\t") + "\n",
		"newlines":      fill("\n"),
		"marks":         fill("!"),
		"combining":     fill("\u0301"),
		"kanji":         fill("漢"),
		"mixed case":    fill("aA漢B"),
		"emoji":         fill("👩‍👩‍👧"),
		"base64":        fill("q83vEjRWeJCrze8SNFZ4kA"),
		"invalid UTF-8": fill("\xff\xc3"),
		"NUL":           fill("\x00"),
		"apostrophes":   fill("'s"),
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			n := tokens.Count(text)
			if took := time.Since(begin); took > 10*time.Second {
				t.Errorf("took %v for %d bytes", took, len(text))
			}
			if n < 1 || n > int64(3*len(text)) {
				t.Errorf("%d tokens in %d bytes", n, len(text))
			}
		})
	}
}

func TestCountConcurrently(t *testing.T) {
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if n := tokens.Count("hello world"); n != 2 {
				t.Errorf("%d tokens", n)
			}
		})
	}
	wg.Wait()
}

func TestTruncate(t *testing.T) {
	tests := []struct {
		text string
		most int64
		want string
		cut  bool
	}{
		{"hello world", 2, "hello world", false},
		{"hello world", 3, "hello world", false},
		{"hello world", 1, "hello", true},
		{"hello world", 0, "", true},
		{"", 0, "", false},
		{strings.Repeat("hello ", 10_000), 3, "hello hello hello", true},
	}
	for _, test := range tests {
		got, cut := tokens.Truncate(test.text, test.most)
		if got != test.want || cut != test.cut {
			t.Errorf("Truncate(%.20q, %d) = %q, %v; want %q, %v", test.text, test.most, got, cut, test.want, test.cut)
		}
	}
}

func FuzzTruncate(f *testing.F) {
	f.Add("お誕生日おめでとう 👩‍👩‍👧 antidisestablishmentarianism", int64(5))
	f.Add("a   \n\n  b\xff\xc3", int64(2))
	f.Fuzz(func(t *testing.T, text string, most int64) {
		most = max(0, most%100)
		got, cut := tokens.Truncate(text, most)
		text = strings.ToValidUTF8(text, "\uFFFD")
		if !strings.HasPrefix(text, got) || cut != (len(got) < len(text)) {
			t.Fatalf("%q (cut: %v) is no proper prefix of %q", got, cut, text)
		}
		if n := tokens.Count(got); n > most {
			t.Errorf("%q has %d tokens, want at most %d", got, n, most)
		}
		if !utf8.ValidString(got) {
			t.Errorf("%q ends inside a character", got)
		}
	})
}

func TestCountPrompt(t *testing.T) {
	tests := map[string]struct {
		in   string
		want int64
	}{
		// Six messages from OpenAI's cookbook, which the API counts as 124 for gpt-4o.
		"cookbook": {`{"messages":[
			{"role":"system","content":"You are a helpful, pattern-following assistant that translates corporate jargon into plain English."},
			{"role":"system","name":"example_user","content":"New synergies will help drive top-line growth."},
			{"role":"system","name":"example_assistant","content":"Things working well together will increase revenue."},
			{"role":"system","name":"example_user","content":"Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage."},
			{"role":"system","name":"example_assistant","content":"Let's talk later when we're less busy about how to do better."},
			{"role":"user","content":"This late pivot means we don't have time to boil the ocean for the client deliverable."}]}`, 124},
		"one word":     {`{"messages":[{"role":"user","content":"hello"}]}`, 3 + 3 + 1 + 1},
		"parts":        {`{"messages":[{"role":"user","content":[{"type":"text","text":"hello"},{"type":"text","text":"hello"}]}]}`, 3 + 3 + 1 + 2},
		"image":        {`{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:xxxx"}}]}]}`, 3 + 3 + 1 + 765},
		"small image":  {`{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:xxxx","detail":"low"}}]}]}`, 3 + 3 + 1 + 85},
		"null content": {`{"messages":[{"role":"assistant","tool_calls":[{"id":"1","type":"function","function":{"name":"hello","arguments":"hello"}}]}]}`, 3 + 3 + 1 + 2},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var in models.ChatCompletionInput
			if err := json.Unmarshal([]byte(test.in), &in); err != nil {
				t.Fatal(err)
			}
			if got := tokens.CountPrompt(&in); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
			if got := tokens.EstimatePrompt(&in); got < test.want/2 || got > 2*test.want {
				t.Errorf("estimated as %d, far from %d", got, test.want)
			}
			in.Tools = []models.Tool{{Type: "function", Function: &models.Function{Name: "hello"}}}
			if got := tokens.CountPrompt(&in); got <= test.want {
				t.Errorf("tools count nothing: %d", got)
			}
		})
	}
}

func BenchmarkCount(b *testing.B) {
	text := strings.Repeat("The quick brown fox jumps over the lazy dog. ", 23)[:1024]
	tokens.Count(text)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		tokens.Count(text)
	}
}

func BenchmarkEstimatePrompt(b *testing.B) {
	in := &models.ChatCompletionInput{Messages: []models.ChatMessage{{
		Role: models.RoleMessageUser, Content: models.TextContent(strings.Repeat("The quick brown fox. ", 50)),
	}}}
	b.ReportAllocs()
	for b.Loop() {
		tokens.EstimatePrompt(in)
	}
}
