package usage

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/coaidev/coai/models"
)

const (
	// maxCells bounds the results of a query: buckets times groups.
	maxCells = 50_000
	// scanners is how many goroutines read segments at most.
	scanners = 4

	quarterMicros = int64(15 * 60 * 1e6)
	hourMicros    = 4 * quarterMicros
)

// question is a query as the scan sees it. Times are Unix microseconds.
type question struct {
	bounds []int64                     // n buckets have n+1 of them, ascending
	values [dimensions][]string        // what is wanted; empty: everything
	filter [dimensions]map[uint32]bool // the same in the process's numbers; nil: everything
	group  [dimensions]bool            // what results are told apart by
}

// resolve turns the wanted values into numbers, once all that has been read has
// some. What has none is nowhere, and gets none: anybody may ask for anything.
func (q *question) resolve(n *names) {
	for d, values := range q.values {
		if len(values) == 0 {
			continue
		}
		q.filter[d] = make(map[uint32]bool, len(values))
		for _, v := range values {
			if id, ok := n.find(v); ok {
				q.filter[d][id] = true
			}
		}
	}
}

// bucketOf is the bucket that holds a time; -1 outside all.
func (q *question) bucketOf(at int64) int {
	i, exact := slices.BinarySearch(q.bounds, at)
	if !exact {
		i--
	}
	if i < 0 || i >= len(q.bounds)-1 {
		return -1
	}
	return i
}

// place is a bucket and a group in it.
type place struct {
	bucket int32
	group  [dimensions]uint32
}

// counts is what a scan has counted.
type counts map[place]*tally

func (a counts) at(p place) (*tally, error) {
	t := a[p]
	if t == nil {
		if len(a) >= maxCells {
			return nil, models.Invalid("group_by", "The answer has more than %d results. Ask for fewer groups, a shorter range, or wider buckets.", maxCells)
		}
		t = new(tally)
		a[p] = t
	}
	return t, nil
}

// merge adds the results of another scan.
func (a counts) merge(o counts) error {
	for p, t := range o {
		if a[p] == nil && len(a) < maxCells {
			a[p] = t
			continue
		}
		into, err := a.at(p)
		if err != nil {
			return err
		}
		into.add(t)
	}
	return nil
}

// hourSegment is a segment and the hour that it holds.
type hourSegment struct {
	hour int64 // since 1970
	*segment
}

// scan counts the segments. They are dealt out in small shares, so that all
// processors end at the same time.
func (q *question) scan(ctx context.Context, list []hourSegment) (counts, error) {
	const share = 32
	var next atomic.Int64
	parts := make([]counts, min(scanners, runtime.GOMAXPROCS(0), len(list)/share+1))
	group, ctx := errgroup.WithContext(ctx)
	for i := range parts {
		parts[i] = counts{}
		group.Go(func() error {
			for {
				from := int(next.Add(share)) - share
				if from >= len(list) || ctx.Err() != nil {
					return ctx.Err()
				}
				for _, s := range list[from:min(from+share, len(list))] {
					if err := q.read(s, parts[i]); err != nil {
						return err
					}
				}
			}
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err //nolint:wrapcheck // the scan's own
	}
	for _, p := range parts[1:] {
		if err := parts[0].merge(p); err != nil {
			return nil, err
		}
	}
	return parts[0], nil
}

// read counts one segment. No bucket may begin or end inside one of its quarters.
func (q *question) read(s hourSegment, into counts) error {
	var wanted [dimensions][]bool
	for d, ids := range q.filter {
		if ids == nil {
			continue
		}
		some := false
		wanted[d] = make([]bool, len(s.dict[d]))
		for i, id := range s.dict[d] {
			wanted[d][i] = ids[id]
			some = some || ids[id]
		}
		if !some {
			return nil
		}
	}
	var buckets [4]int32
	for i := range buckets {
		buckets[i] = int32(q.bucketOf(s.hour*hourMicros + int64(i)*quarterMicros)) //nolint:gosec // there are not so many
	}
	r := reader{b: s.cells}
	var last place
	var found *tally
	for r.at < len(r.b) {
		quarter := r.uint()
		if quarter > 3 {
			return fmt.Errorf("read a cell: %w", errSegment)
		}
		p := place{bucket: buckets[quarter]}
		skip := p.bucket < 0
		for d := range dimensions {
			at := r.uint()
			if at >= uint64(len(s.dict[d])) {
				return fmt.Errorf("read a cell: %w", errSegment)
			}
			if wanted[d] != nil && !wanted[d][at] {
				skip = true
			}
			if q.group[d] {
				p.group[d] = s.dict[d][at]
			}
		}
		var counted sums
		r.sums(&counted)
		if skip {
			r.histogram(nil)
			r.histogram(nil)
			continue
		}
		if found == nil || p != last {
			var err error
			if found, err = into.at(p); err != nil {
				return err
			}
			last = p
		}
		found.sums.add(&counted)
		r.histogram(&found.latency)
		r.histogram(&found.ttft)
		if r.failed {
			return fmt.Errorf("read a cell: %w", errSegment)
		}
	}
	if r.failed {
		return fmt.Errorf("read a cell: %w", errSegment)
	}
	return nil
}

// count counts a record that is in no segment yet.
func (q *question) count(r *rawRecord, n *names, into counts) error {
	p := place{bucket: int32(q.bucketOf(r.createdAt))} //nolint:gosec // there are not so many
	if p.bucket < 0 {
		return nil
	}
	for d, name := range r.names {
		if q.group[d] {
			p.group[d] = n.id(name)
		}
	}
	t, err := into.at(p)
	if err != nil {
		return err
	}
	t.record(r)
	return nil
}
