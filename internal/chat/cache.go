package chat

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"hash"
	"strings"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/coaidev/coai/models"
)

// maxCached is how long one answer may be that is kept, in bytes.
const maxCached = 1 << 20

// cacheKey stands for a request: equal requests of one account have equal keys,
// and no other account's request has the same.
type cacheKey [sha256.Size]byte

// cached is an answer that was given whole, or as the chunks of a stream, and
// what it costs to hear it again: nothing.
type cached struct {
	whole  []byte
	chunks [][]byte
	usage  *models.Usage
	size   int
	ttl    time.Duration
}

// answers keeps answers in this process, for keys that ask for it. When it is
// full, what is asked for least goes first.
type answers struct {
	entries *otter.Cache[cacheKey, *cached] // nil: nothing is kept
}

func newAnswers(maxBytes int64) answers {
	if maxBytes <= 0 {
		return answers{}
	}
	return answers{otter.Must(&otter.Options[cacheKey, *cached]{
		MaximumWeight:    uint64(maxBytes),
		Weigher:          func(_ cacheKey, c *cached) uint32 { return uint32(c.size) }, // at most maxCached and a little
		ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[cacheKey, *cached]) time.Duration { return e.Value.ttl }),
	})}
}

func (a answers) close() {
	if a.entries != nil {
		a.entries.StopAllGoroutines()
	}
}

// find gives what was answered to the same request, and where to put the answer
// if there is none: nil for a request that is not cached.
func (a answers) find(j *job) (hit *cached, at *cacheKey) {
	if a.entries == nil || j.viewer.CacheTTL <= 0 || j.in.NoCache {
		return nil, nil
	}
	key := keyOf(j)
	hit, _ = a.entries.GetIfPresent(key)
	return hit, &key
}

// keyOf hashes all that an answer depends on: the request but for what only
// says how it is delivered, and that apart.
func keyOf(j *job) (key cacheKey) {
	h := sha256.New()
	how := byte(0)
	if j.stream {
		how |= 1
	}
	if j.in.WantsUsage() {
		how |= 2
	}
	_, _ = fmt.Fprintf(h, "%d %s %q\n", how, j.viewer.UserID, j.route.Model.Name)
	raw := j.in.Raw
	if raw == nil {
		raw, _ = json.Marshal(j.in) // what was decoded can be encoded
		hashMembers(h, j.in.Extra)
	}
	hashMembers(h, raw)
	h.Sum(key[:0])
	return key
}

func hashMembers(h hash.Hash, object []byte) {
	gjson.ParseBytes(object).ForEach(func(name, value gjson.Result) bool {
		switch strings.ToLower(name.Str) {
		case "model", "stream", "stream_options":
		default:
			_, _ = fmt.Fprintf(h, "%q:%d:%s\n", name.Str, len(value.Raw), value.Raw)
		}
		return true
	})
}

// keep takes an answer for the next who asks the same.
func (a answers) keep(at *cacheKey, ttl time.Duration, whole []byte, chunks [][]byte, usage *models.Usage) {
	const overhead = 512 // of an entry
	c := &cached{whole: freeOfCharge(whole), ttl: ttl, size: overhead + len(whole)}
	for i, chunk := range chunks {
		if i == len(chunks)-1 {
			chunk = freeOfCharge(chunk)
		}
		c.chunks = append(c.chunks, chunk)
		c.size += len(chunk) + 32
	}
	if c.size > maxCached {
		return
	}
	if usage != nil {
		free := *usage
		if free.Cost != nil {
			free.Cost, free.CostDetails = new(models.Nanos), new(models.CostDetails)
		}
		c.usage = &free
	}
	a.entries.Set(*at, c)
}

// freeOfCharge writes into an answer's usage that it costs nothing.
func freeOfCharge(raw []byte) []byte {
	for _, path := range []string{"usage.cost", "usage.cost_details.upstream_inference_prompt_cost", "usage.cost_details.upstream_inference_completions_cost"} {
		if gjson.GetBytes(raw, path).Exists() {
			if out, err := sjson.SetRawBytes(raw, path, []byte("0")); err == nil {
				raw = out
			}
		}
	}
	return raw
}

// completion is the answer once more.
func (c *cached) completion() *models.ChatCompletion {
	out := models.RawChatCompletion(c.whole)
	out.Usage, out.Cache = c.usage, new(models.CacheHit)
	return out
}

// stream is the answer's chunks once more.
func (c *cached) stream() *Stream {
	s := &Stream{done: true, ready: make([]*models.ChatCompletionChunk, len(c.chunks))}
	for i, raw := range c.chunks {
		s.ready[i] = models.RawChunk(raw)
		s.ready[i].Cache = new(models.CacheHit)
	}
	if n := len(s.ready); n > 0 {
		s.ready[n-1].Usage = c.usage
	}
	return s
}
