package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// closed lets clients ask one whole completion after the other, and gives the
// requests and the processor time of the process that answers.
func closed(ctx context.Context, to *process, request []byte, clients int, d time.Duration) (perSecond, cpuMicros float64, err error) {
	conns := make([]*conn, 0, clients)
	defer func() {
		for _, c := range conns {
			c.close()
		}
	}()
	for range clients {
		c, err := dial(ctx, to.url)
		if err != nil {
			return 0, 0, err
		}
		conns = append(conns, c)
	}
	var n atomic.Int64
	var group sync.WaitGroup
	var failure atomic.Pointer[error]
	stop := make(chan struct{})
	for _, c := range conns {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := c.whole(request); err != nil {
					failure.CompareAndSwap(nil, &err)
					return
				}
				n.Add(1)
			}
		})
	}
	// The first moments are for pools and connections.
	err = pause(ctx, min(d/4, 500*time.Millisecond))
	before, began := n.Load(), time.Now()
	cpuBefore, errBefore := to.cpu()
	if err == nil {
		err = pause(ctx, d)
	}
	settled(ctx, patience, func() bool { return n.Load() > before || failure.Load() != nil }) // on a machine that is out of breath
	count, took := float64(n.Load()-before), time.Since(began)
	cpuAfter, errAfter := to.cpu()
	close(stop)
	group.Wait()
	for _, e := range []error{err, errBefore, errAfter} {
		if e != nil {
			return 0, 0, e
		}
	}
	if e := failure.Load(); e != nil {
		return 0, 0, fmt.Errorf("the %s under %d clients: %w", to.name, clients, *e)
	}
	if count == 0 {
		return 0, 0, fmt.Errorf("the %s under %d clients answered nothing", to.name, clients)
	}
	return count / took.Seconds(), float64((cpuAfter - cpuBefore).Microseconds()) / count, nil
}

// warm asks for so many completions, one after the other.
func warm(ctx context.Context, to *process, request []byte, n int) error {
	c, err := dial(ctx, to.url)
	if err != nil {
		return err
	}
	defer c.close()
	for range n {
		if err := c.whole(request); err != nil {
			return fmt.Errorf("warm the %s: %w", to.name, err)
		}
	}
	return nil
}

// open sends requests at a steady rate, whether earlier ones are answered or
// not, and gives their latencies in nanoseconds.
func open(ctx context.Context, url string, request []byte, rate int, d time.Duration) ([]int64, error) {
	var mu sync.Mutex
	var latencies []int64
	var idle []*conn
	var failure error
	var group sync.WaitGroup
	defer func() {
		for _, c := range idle {
			c.close()
		}
	}()
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	total := int(d.Seconds() * float64(rate))
	for i := range total {
		select {
		case <-tick.C:
		case <-ctx.Done():
			group.Wait()
			return nil, ctx.Err()
		}
		group.Go(func() {
			mu.Lock()
			var c *conn
			if n := len(idle); n > 0 {
				c, idle = idle[n-1], idle[:n-1]
			}
			mu.Unlock()
			var err error
			fresh := c == nil
			if fresh {
				c, err = dial(ctx, url)
			}
			began := time.Now()
			if err == nil {
				err = c.whole(request)
			}
			took := time.Since(began)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failure = err
				return
			}
			idle = append(idle, c)
			if i >= total/10 && !fresh { // those before warm the connections
				latencies = append(latencies, took.Nanoseconds())
			}
		})
	}
	group.Wait()
	if failure != nil {
		return nil, fmt.Errorf("at %d requests a second: %w", rate, failure)
	}
	return latencies, nil
}
