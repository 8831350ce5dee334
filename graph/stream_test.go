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

// scripted is a stream that a test tells what to do. It never has anything ready.
type scripted struct {
	next  func() (*models.ChatCompletionChunk, error)
	close func() error
}

func (s scripted) Next() (*models.ChatCompletionChunk, error) { return s.next() }
func (s scripted) Poll() (*models.ChatCompletionChunk, error) { return nil, nil } //nolint:nilnil // nothing yet
func (s scripted) Close() error                               { return s.close() }

// pumped pumps a scripted stream.
func pumped(ctx context.Context, s scripted) (<-chan *models.ChatCompletionChunk, error) {
	return pump(feed(ctx, failedChunk)(s, nil))
}

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
			chunks, err := pumped(testContext(t.Context(), l), scripted{counted(3, c.end), func() error {
				if closed {
					t.Error("closed twice")
				}
				closed = true
				if c.close != nil {
					return c.close()
				}
				return nil
			}})
			if err != nil {
				t.Fatal(err)
			}
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
	chunks, err := pumped(ctx, scripted{func() (*models.ChatCompletionChunk, error) {
		asked.Add(1)
		return next()
	}, func() error { close(closed); return nil }})
	if err != nil {
		t.Fatal(err)
	}
	<-chunks
	eventually(t, "a full buffer", func() bool { return asked.Load() == streamBuffer+2 })
	cancel()
	<-closed // nobody reads, and yet it ends
	if n := asked.Load(); n > streamBuffer+2 {
		t.Errorf("%d chunks were taken from the stream for a client that read one", n)
	}
}

// polled is a stream whose elements are all ready.
type polled struct{ scripted }

func (p polled) Poll() (*models.ChatCompletionChunk, error) { return p.next() }

func TestFeedIsPolledToItsEnd(t *testing.T) {
	for name, c := range map[string]struct {
		end  func() (*models.ChatCompletionChunk, error)
		code string // of the last chunk's error
	}{
		"the end":         {ended, ""},
		"a known failure": {func() (*models.ChatCompletionChunk, error) { return nil, models.Unavailable("overloaded", "no") }, "overloaded"},
		"a panic":         {func() (*models.ChatCompletionChunk, error) { panic("kaboom") }, models.CodeInternal},
	} {
		t.Run(name, func(t *testing.T) {
			closed := 0
			f, err := feed(testContext(t.Context(), new(logs)), failedChunk)(polled{scripted{counted(2, c.end), func() error { closed++; return nil }}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			for i := range 2 {
				if chunk, ok := f.Poll(); !ok || chunk == nil || chunk.Sequence != i || closed != 0 {
					t.Fatalf("chunk %d: %+v, %t, closed %d times", i, chunk, ok, closed)
				}
			}
			last, ok := f.Poll()
			if !ok || closed != 1 || (last == nil) != (c.code == "") || last != nil && (last.Err.Code != c.code || last.Sequence != 2) {
				t.Errorf("the end: %+v, %t, closed %d times", last, ok, closed)
			}
			if chunk, ok := f.Poll(); chunk != nil || !ok || f.Next() != nil {
				t.Errorf("after the end: %+v, %t", chunk, ok)
			}
			if f.Close(); closed != 1 {
				t.Errorf("closed %d times", closed)
			}
		})
	}
	f, err := feed(t.Context(), failedChunk)(scripted{counted(1, ended), func() error { return nil }}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if chunk, ok := f.Poll(); chunk != nil || ok {
		t.Errorf("a stream that has nothing ready: %+v, %t", chunk, ok)
	}
	f.Close()
	if chunk := f.Next(); chunk != nil {
		t.Errorf("a closed stream gives %+v", chunk)
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
