package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// streamed is what a round of streams has shown of one process.
type streamed struct {
	cpuMillis float64 // per 1,000 chunks
	perStream float64 // KiB of memory for each open stream
	first     []int64 // nanoseconds to the first chunk with text
	transit   []int64
	lost      int64 // chunks that did not arrive
}

// streams opens streams, over a second or so, and measures while all are open.
// idle is the memory of the process before its first stream.
func streams(ctx context.Context, to *process, key string, load streamLoad, d time.Duration, idle int64) (streamed, error) {
	interval := time.Second / time.Duration(load.rate)
	ramp := max(time.Second, time.Duration(load.count)*time.Millisecond)
	chunks := int((ramp+d)/interval) + 1
	body := request(key, completion(chunks, interval))
	var out streamed
	var mu sync.Mutex
	var seen atomic.Int64
	var failure error
	var group sync.WaitGroup
	one := func() error {
		c, err := dial(ctx, to.url)
		if err != nil {
			return err
		}
		defer c.close()
		got, err := c.stream(body, func() { seen.Add(1) })
		mu.Lock()
		defer mu.Unlock()
		out.first = append(out.first, got.first.Nanoseconds())
		out.transit = append(out.transit, got.transit...)
		out.lost += int64(chunks - len(got.transit))
		return err
	}
	tick := time.NewTicker(ramp / time.Duration(load.count))
	defer tick.Stop()
	for range load.count {
		select {
		case <-tick.C:
		case <-ctx.Done():
			group.Wait()
			return out, ctx.Err()
		}
		group.Go(func() {
			if err := one(); err != nil {
				mu.Lock()
				failure = err
				mu.Unlock()
			}
		})
	}
	// The first stream ends d after the last has begun.
	before := seen.Load()
	cpuBefore, errBefore := to.cpu()
	err := pause(ctx, d*8/10)
	n := seen.Load() - before
	cpuAfter, errAfter := to.cpu()
	memory, errMemory := to.rss()
	group.Wait()
	for _, e := range []error{err, errBefore, errAfter, errMemory} {
		if e != nil {
			return out, e
		}
	}
	if failure != nil {
		return out, fmt.Errorf("the %s under %d streams: %w", to.name, load.count, failure)
	}
	if n == 0 {
		return out, fmt.Errorf("the %s under %d streams sent nothing", to.name, load.count)
	}
	out.cpuMillis = float64((cpuAfter - cpuBefore).Microseconds()) / float64(n)
	out.perStream = float64(memory-idle) / float64(load.count)
	return out, nil
}
