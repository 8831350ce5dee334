package graph

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/coaidev/coai/models"
)

// counted is a stream of n chunks, then of what end does.
func counted(n int, end func() (*models.ChatCompletionChunk, error)) func() (*models.ChatCompletionChunk, error) {
	i := -1
	return func() (*models.ChatCompletionChunk, error) {
		if i++; i < n {
			c := models.NewChunk(&models.ChunkBody{ID: "c"})
			c.Sequence = i
			return c, nil
		}
		return end()
	}
}

func ended() (*models.ChatCompletionChunk, error) { return nil, io.EOF }

func TestPumpEndsInBand(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for name, c := range map[string]struct {
		end    func() (*models.ChatCompletionChunk, error)
		close  func() error
		chunks int
		code   string // of the last chunk's error
		log    string
	}{
		"the end":           {ended, nil, 3, "", ""},
		"a known failure":   {func() (*models.ChatCompletionChunk, error) { return nil, models.Unavailable("overloaded", "no") }, nil, 4, "overloaded", ""},
		"an unknown one":    {func() (*models.ChatCompletionChunk, error) { return nil, errSecret }, nil, 4, models.CodeInternal, "secret table"},
		"a panic":           {func() (*models.ChatCompletionChunk, error) { panic("kaboom") }, nil, 4, models.CodeInternal, "kaboom"},
		"a failing close":   {ended, func() error { return errors.New("not settled") }, 3, "", "not settled"},
		"a panicking close": {ended, func() error { panic("twice") }, 3, "", "twice"},
	} {
		t.Run(name, func(t *testing.T) {
			l, closed := new(logs), false
			chunks := pump(testContext(t.Context(), l), counted(3, c.end), func() error {
				closed = true
				if c.close != nil {
					return c.close()
				}
				return nil
			}, failedChunk)
			n, last := 0, (*models.ChatCompletionChunk)(nil)
			for chunk := range chunks {
				if chunk.Sequence != n {
					t.Errorf("chunk %d has the sequence %d", n, chunk.Sequence)
				}
				n, last = n+1, chunk
			}
			code := ""
			if last.Err != nil {
				code = last.Err.Code
				if strings.Contains(last.Err.Message, "kaboom") || strings.Contains(last.Err.Message, "secret") {
					t.Errorf("the client sees %q", last.Err.Message)
				}
			}
			if n != c.chunks || code != c.code || !closed {
				t.Errorf("%d chunks, code %q, closed %t; want %d, %q, true", n, code, closed, c.chunks, c.code)
			}
			if !strings.Contains(l.String(), c.log) {
				t.Errorf("the log lacks %q: %s", c.log, l)
			}
		})
	}
}

func TestPumpStopsWithItsContext(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	ctx, cancel := context.WithCancel(t.Context())
	closed := make(chan struct{})
	var asked atomic.Int32
	next := counted(1<<30, ended)
	chunks := pump(ctx, func() (*models.ChatCompletionChunk, error) {
		asked.Add(1)
		return next()
	}, func() error { close(closed); return nil }, failedChunk)
	<-chunks
	eventually(t, "a full buffer", func() bool { return asked.Load() == streamBuffer+2 })
	cancel()
	<-closed // nobody reads, and yet it ends
	if n := asked.Load(); n > streamBuffer+2 {
		t.Errorf("%d chunks were taken from the stream for a client that read one", n)
	}
}

func TestUsageIsAskedForUnlessRESTDecides(t *testing.T) {
	in := models.ChatCompletionInput{}
	if withUsage(&in); !in.WantsUsage() {
		t.Error("a GraphQL caller gets no usage")
	}
	in = models.ChatCompletionInput{Raw: []byte("{}")}
	if withUsage(&in); in.WantsUsage() {
		t.Error("a REST client gets usage that it did not ask for")
	}
}
