package usage

import (
	"encoding/binary"
	"math"
	"sync"

	"github.com/DataDog/sketches-go/ddsketch/mapping"
)

// Times are counted in bins whose bounds grow by 2 %, so that any percentile is
// within 1 %, and histograms of hours, groups and processes add up: those of
// DDSketch. https://arxiv.org/abs/1908.10693
const (
	accuracy = 0.01
	// maxBin is beyond the bin of 2^53 ms.
	maxBin = 2000
	// roomForBins is what a histogram begins with.
	roomForBins = 8
)

// bins gives the bounds. Bin 0 is for zero; bin n+1 is number n of the mapping.
var bins = sync.OnceValue(func() *mapping.LogarithmicMapping { //nolint:gochecknoglobals // a constant that Go cannot write as one
	m, err := mapping.NewLogarithmicMapping(accuracy)
	if err != nil {
		panic(err) // the accuracy is a constant
	}
	return m
})

// binOf is the bin of a time in milliseconds.
func binOf(ms int64) int {
	if ms <= 0 {
		return 0
	}
	return min(maxBin, 1+max(0, bins().Index(float64(ms))))
}

// binValue is the time that stands for a bin, in whole milliseconds.
func binValue(bin int) float64 {
	if bin <= 0 {
		return 0
	}
	return math.Round(bins().Value(bin - 1))
}

// histogram counts times by bin, from the lowest used bin to the highest.
type histogram struct {
	first  int      // the bin of counts[0]
	counts []uint32 // four thousand million of one bin are as good as more
}

func (h *histogram) count(bin int, n uint64) {
	if n == 0 {
		return
	}
	switch {
	case len(h.counts) == 0:
		h.first, h.counts = bin, make([]uint32, 1, roomForBins)
	case bin < h.first:
		grown := make([]uint32, len(h.counts)+h.first-bin, (len(h.counts)+h.first-bin)*3/2)
		copy(grown[h.first-bin:], h.counts)
		h.first, h.counts = bin, grown
	case bin >= h.first+len(h.counts):
		need := bin - h.first + 1
		if need > cap(h.counts) {
			grown := make([]uint32, len(h.counts), need*3/2)
			copy(grown, h.counts)
			h.counts = grown
		}
		h.counts = h.counts[:need]
	}
	at := &h.counts[bin-h.first]
	*at = uint32(min(math.MaxUint32, uint64(*at)+n))
}

func (h *histogram) merge(o *histogram) {
	for i, n := range o.counts {
		h.count(o.first+i, uint64(n))
	}
}

// quantiles are the times below which these shares of all lie, in ascending
// order; nil without any time.
func (h *histogram) quantiles(shares ...float64) []*float64 {
	out := make([]*float64, len(shares))
	var total uint64
	for _, n := range h.counts {
		total += uint64(n)
	}
	if total == 0 {
		return out
	}
	var seen uint64
	next := 0
	for i, n := range h.counts {
		seen += uint64(n)
		for next < len(shares) && float64(seen) > shares[next]*float64(total-1) {
			v := binValue(h.first + i)
			out[next] = &v
			next++
		}
	}
	return out
}

func (h *histogram) append(b []byte) []byte {
	used := uint64(0)
	for _, n := range h.counts {
		if n > 0 {
			used++
		}
	}
	b = binary.AppendUvarint(b, used)
	for i, n := range h.counts {
		if n > 0 {
			b = binary.AppendUvarint(b, uint64(h.first+i)) //nolint:gosec // a bin is not negative
			b = binary.AppendUvarint(b, uint64(n))
		}
	}
	return b
}
