package usage

import (
	"context"
	"time"
)

const (
	// Records that come closer together than this wait for more of them: a commit
	// costs as much as ten records do.
	crowded = 500 * time.Microsecond
	// so that commits begin at least this far apart.
	stride = 2 * time.Millisecond
)

// pace keeps commits apart under load, so that more records share one. Who comes
// alone does not wait.
type pace struct {
	gap   time.Duration // between two records, of late
	last  time.Time     // when the last batch was taken
	timer *time.Timer
}

// wait is before a batch is taken out of the queue.
func (p *pace) wait(ctx context.Context) {
	if p.gap == 0 || p.gap > crowded {
		return
	}
	rest := stride - time.Since(p.last)
	if rest <= 0 {
		return
	}
	if p.timer == nil {
		p.timer = time.NewTimer(rest)
	} else {
		p.timer.Reset(rest)
	}
	select {
	case <-p.timer.C:
	case <-ctx.Done():
	}
}

// note is after a batch of n records was taken.
func (p *pace) note(n int) {
	now := time.Now()
	gap := now.Sub(p.last) / time.Duration(n)
	p.last = now
	p.gap = (3*p.gap + gap) / 4
	if p.gap == 0 || gap > 10*crowded { // a rest ends what was before
		p.gap = gap
	}
}
