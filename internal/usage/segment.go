package usage

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/coaidev/coai/models"
)

// A segment is one hour of usage records, summed up by quarter of the hour, user,
// key, model and channel, with histograms of their times:
//
//	format (1 byte) | four dictionaries, of users, keys, models and channels | cells
//
// A dictionary is a count and so many strings, each behind its length. A cell is
// the quarter, four places in the dictionaries, the sums, and two histograms: a
// count of bins, then each bin's number and how many fell into it. All numbers
// are unsigned varints; cells are sorted by what they are for.

const segmentFormat = 1

var errSegment = errors.New("an hour of usage_hours is damaged")

// The places of what records are grouped by.
const (
	byUser = iota
	byKey
	byModel
	byChannel
	dimensions
)

// cell is what the records of a segment are summed up by.
type cell struct {
	quarter int
	names   [dimensions]string
}

// sums are what is counted.
type sums struct {
	requests, errors, input, output, cached, reasoning int64

	cost, latencyMS int64
}

func (s *sums) add(o *sums) {
	s.requests += o.requests
	s.errors += o.errors
	s.input += o.input
	s.output += o.output
	s.cached += o.cached
	s.reasoning += o.reasoning
	s.cost += o.cost
	s.latencyMS += o.latencyMS
}

// tally is what was counted for a cell or for a group of a bucket.
type tally struct {
	sums

	latency, ttft histogram
}

func (t *tally) add(o *tally) {
	t.sums.add(&o.sums)
	t.latency.merge(&o.latency)
	t.ttft.merge(&o.ttft)
}

// record counts one record.
func (t *tally) record(r *rawRecord) {
	t.requests++
	if r.ErrorCode != "" {
		t.errors++
	}
	t.input += r.PromptTokens
	t.output += r.CompletionTokens
	t.cached += r.CachedTokens
	t.reasoning += r.ReasoningTokens
	t.cost += int64(r.Cost)
	t.latencyMS += r.LatencyMS
	t.latency.count(binOf(r.LatencyMS), 1)
	if r.TTFTMS > 0 {
		t.ttft.count(binOf(r.TTFTMS), 1)
	}
}

// packSegment writes the cells of an hour.
func packSegment(cells map[cell]*tally) []byte {
	var dict [dimensions][]string
	var place [dimensions]map[string]uint64
	for d := range dimensions {
		names := map[string]bool{}
		for c := range cells {
			names[c.names[d]] = true
		}
		dict[d] = slices.Sorted(maps.Keys(names))
		place[d] = make(map[string]uint64, len(dict[d]))
		for i, name := range dict[d] {
			place[d][name] = uint64(i)
		}
	}
	b := []byte{segmentFormat}
	for _, names := range dict {
		b = binary.AppendUvarint(b, uint64(len(names)))
		for _, name := range names {
			b = binary.AppendUvarint(b, uint64(len(name)))
			b = append(b, name...)
		}
	}
	order := slices.SortedFunc(maps.Keys(cells), func(x, y cell) int {
		return cmp.Or(slices.Compare(x.names[:], y.names[:]), cmp.Compare(x.quarter, y.quarter))
	})
	for _, c := range order {
		b = binary.AppendUvarint(b, uint64(c.quarter))
		for d, name := range c.names {
			b = binary.AppendUvarint(b, place[d][name])
		}
		t := cells[c]
		for _, n := range []int64{t.requests, t.errors, t.input, t.output, t.cached, t.reasoning, t.cost, t.latencyMS} {
			b = binary.AppendUvarint(b, uint64(n)) //nolint:gosec // a negative number comes back as it was
		}
		b = t.latency.append(b)
		b = t.ttft.append(b)
	}
	return b
}

// names gives texts small numbers, the same for as long as the process lives.
// Zero is the empty text.
type names struct {
	mu   sync.RWMutex
	ids  map[string]uint32
	list []string
}

func newNames() *names { return &names{ids: map[string]uint32{"": 0}, list: []string{""}} }

func (n *names) find(text string) (uint32, bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	id, ok := n.ids[text]
	return id, ok
}

func (n *names) id(text string) uint32 {
	id, ok := n.find(text)
	if ok {
		return id
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if id, ok = n.ids[text]; ok {
		return id
	}
	id = uint32(len(n.list)) //nolint:gosec // there are not so many users and models
	n.ids[text], n.list = id, append(n.list, text)
	return id
}

func (n *names) text(id uint32) string {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.list[id]
}

// segment is an hour that has been read: its dictionaries in the process's
// numbers, and its cells still packed.
type segment struct {
	version int64
	dict    [dimensions][]uint32
	cells   []byte
}

// size is about what it takes in memory, in bytes.
func (s *segment) size() int {
	n := 200 + len(s.cells)
	for _, d := range s.dict {
		n += 4 * len(d)
	}
	return n
}

func readSegment(version int64, data []byte, n *names) (*segment, error) {
	if len(data) == 0 || data[0] != segmentFormat {
		return nil, fmt.Errorf("read the format: %w", errSegment)
	}
	s := &segment{version: version}
	r := reader{b: data, at: 1}
	for d := range dimensions {
		count := r.uint()
		if r.failed || count > uint64(len(data)) {
			return nil, fmt.Errorf("read the dictionary: %w", errSegment)
		}
		s.dict[d] = make([]uint32, count)
		for i := range s.dict[d] {
			s.dict[d][i] = n.id(r.text())
		}
	}
	if r.failed {
		return nil, fmt.Errorf("read the dictionary: %w", errSegment)
	}
	s.cells = data[r.at:]
	return s, nil
}

// reader reads packed numbers. After a failure it gives zeros.
type reader struct {
	b      []byte
	at     int
	failed bool
}

func (r *reader) uint() uint64 {
	if r.at < len(r.b) {
		if c := r.b[r.at]; c < 0x80 {
			r.at++
			return uint64(c)
		}
	}
	return r.long()
}

func (r *reader) long() uint64 {
	v, n := binary.Uvarint(r.b[min(r.at, len(r.b)):])
	if n <= 0 {
		r.failed, r.at = true, len(r.b)
		return 0
	}
	r.at += n
	return v
}

func (r *reader) text() string {
	n := r.uint()
	if n > uint64(len(r.b)-r.at) {
		r.failed = true
		return ""
	}
	s := string(r.b[r.at : r.at+int(n)]) //nolint:gosec // checked above
	r.at += int(n)                       //nolint:gosec // as above
	return s
}

// sums reads the sums of a cell.
func (r *reader) sums(s *sums) {
	s.requests = int64(r.uint())  //nolint:gosec // as it was written
	s.errors = int64(r.uint())    //nolint:gosec // as above
	s.input = int64(r.uint())     //nolint:gosec // as above
	s.output = int64(r.uint())    //nolint:gosec // as above
	s.cached = int64(r.uint())    //nolint:gosec // as above
	s.reasoning = int64(r.uint()) //nolint:gosec // as above
	s.cost = int64(r.uint())      //nolint:gosec // as above
	s.latencyMS = int64(r.uint()) //nolint:gosec // as above
}

// histogram reads one into h, or past it when h is nil.
func (r *reader) histogram(h *histogram) {
	for n := r.uint(); n > 0 && !r.failed; n-- {
		bin, count := r.uint(), r.uint()
		if h == nil {
			continue
		}
		if bin > maxBin {
			r.failed = true
			return
		}
		h.count(int(bin), count)
	}
}

// rawRecord is what analytics read of a usage record.
type rawRecord struct {
	names     [dimensions]string
	createdAt int64 // Unix microseconds
	models.UsageRecord
}
