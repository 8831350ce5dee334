package chat

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"

	"github.com/coaidev/coai/internal/tokens"
	"github.com/coaidev/coai/internal/usage"
	"github.com/coaidev/coai/models"
)

const (
	// What a prompt may have beside its text: the marks of its messages; what
	// upstreams say about tools; an image or a document that is only named.
	tokensOfTemplate  = 32
	tokensOfTools     = 1_000
	tokensOfReference = 5_000

	// encodings is how many times as many tokens another encoding than ours makes
	// of a text, in the languages that people write.
	encodings = 2
	// longestCounted is the prompt in bytes that is worth counting before it is
	// refused.
	longestCounted = 256 << 10
)

// hold begins the record of the attempt. What it may cost at most is set aside: by
// the bytes of its prompt, which costs nothing to say and is several times too
// much; near a limit, where that does not fit in, by its tokens.
func (j *job) hold() error {
	if !j.record.Metered {
		return j.s.ledger.Begin(j.ctx, j.record)
	}
	longest := j.longest()
	j.record.Held = usage.HoldFor(j.pricing, j.most(longest))
	err := j.s.ledger.Begin(j.ctx, j.record)
	e := new(models.Error)
	if !errors.As(err, &e) || e.Code != models.CodeBudgetExceeded && e.Code != models.CodeInsufficientQuota {
		return err
	}
	if longest == 0 || longest > longestCounted {
		return err
	}
	n := min(longest, encodings*j.counted())
	if held := usage.HoldFor(j.pricing, j.most(n)); held < j.record.Held {
		j.record.Held = held
		return j.s.ledger.Begin(j.ctx, j.record)
	}
	return err
}

// counted is the prompt's tokens by our own encoding.
func (j *job) counted() int64 {
	if j.call != nil {
		return j.call.Count()
	}
	return tokens.CountPrompt(j.in)
}

// longest is how many tokens the prompt may have at most. No encoding makes more
// tokens of a text than it has bytes, and the request in JSON is longer than its
// text; no model reads more than its context window.
func (j *job) longest() int64 {
	var n int64
	switch {
	case j.call == nil:
		n = longestPrompt(j.in)
	case j.call.Count == nil || !isJSON(j.call.ContentType):
		return 0
	default:
		n = longestBody(j.call.Body)
	}
	if window := j.route.Model.ContextWindow; window != nil {
		n = min(n, int64(*window))
	}
	return n
}

func longestPrompt(in *models.ChatCompletionInput) int64 {
	n := int64(tokensOfTemplate + len(in.Raw))
	if in.Raw == nil {
		var size counter
		_ = json.NewEncoder(&size).Encode(in) // what came as JSON goes as JSON
		n += int64(size)
	}
	if len(in.Tools) > 0 || len(in.Functions) > 0 {
		n += tokensOfTools
	}
	for i := range in.Messages {
		if c := in.Messages[i].Content; c != nil {
			n += references(c.Parts)
		}
	}
	return n
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

func references(parts []models.ContentPart) (tokens int64) {
	for i := range parts {
		p := &parts[i]
		if p.ImageURL != nil && !strings.HasPrefix(p.ImageURL.URL, "data:") || p.File != nil && p.File.FileID != nil {
			tokens += tokensOfReference
		}
	}
	return tokens
}

// longestBody bounds a prompt in another language, which is not read.
func longestBody(body []byte) int64 {
	n := int64(tokensOfTemplate + len(body))
	if bytes.Contains(body, []byte(`"tools"`)) {
		n += tokensOfTools
	}
	for _, kind := range []string{`"image"`, `"document"`, `"input_image"`, `"input_file"`} {
		n += tokensOfReference * int64(bytes.Count(body, []byte(kind)))
	}
	return n
}
