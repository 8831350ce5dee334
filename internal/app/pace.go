package app

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// leastGrowth is how much may always be allocated between two collections.
	leastGrowth = 8 << 20
	// Collections come no more often than this, and the more seldom the more there is
	// to look through.
	collectEvery = 400 * time.Millisecond
	secondFor    = 128 << 20 // bytes that make it a second longer
)

// pacer sets after each collection how much the heap may grow until the next: as
// much as is allocated in a while. Thousands of streams that wait allocate little,
// and their memory would else be mostly garbage; where much is allocated, much is
// let go at once.
type pacer struct {
	most    int // percent
	percent int // that is set
	at      time.Time
	samples []metrics.Sample
	before  uint64 // bytes allocated at the last collection
}

func newPacer(most int) *pacer {
	p := &pacer{most: most, percent: most, at: time.Now()}
	for _, name := range []string{"/gc/heap/allocs:bytes", "/gc/heap/live:bytes", "/gc/scan/stack:bytes", "/gc/scan/globals:bytes"} {
		p.samples = append(p.samples, metrics.Sample{Name: name})
	}
	return p
}

// follow calls adjust after each collection, for as long as the process lives.
func (p *pacer) follow() {
	// An object that nobody holds: its finalizer runs after each collection.
	type collected struct{ _ [16]byte }
	var again func(*collected)
	again = func(c *collected) {
		p.adjust(time.Now())
		runtime.SetFinalizer(c, again)
	}
	runtime.SetFinalizer(new(collected), again)
}

func (p *pacer) adjust(now time.Time) {
	metrics.Read(p.samples)
	var values [4]uint64
	for i := range p.samples {
		if p.samples[i].Value.Kind() != metrics.KindUint64 {
			return // this runtime does not tell
		}
		values[i] = p.samples[i].Value.Uint64()
	}
	allocated, scanned := values[0]-p.before, values[1]+values[2]+values[3]
	percent := growth(allocated, scanned, now.Sub(p.at), p.most)
	p.before, p.at = values[0], now
	if percent != p.percent {
		p.percent = percent
		debug.SetGCPercent(percent)
	}
}

// growth is the percentage by which the heap may grow, at most most, after so much
// was allocated in the time since the last collection, and so much scanned in it.
func growth(allocated, scanned uint64, took time.Duration, most int) int {
	wait := collectEvery + time.Duration(float64(scanned)/secondFor*float64(time.Second))
	room := max(float64(allocated)/max(took.Seconds(), 0.01)*wait.Seconds(), leastGrowth, float64(scanned)/8)
	const step = 5 // so that it is not set anew for nothing
	percent := room / max(float64(scanned), 1) * 100
	if percent >= float64(most) {
		return most
	}
	return min(most, int(percent/step+1)*step)
}
