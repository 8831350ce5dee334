package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// bench is a run on one backend.
type bench struct {
	*plan
	report   *report
	program  string
	backend  *backend
	upstream *process
	proxy    *process
	gateway  *product
}

func (p *plan) run(ctx context.Context, out io.Writer) error {
	dir, err := os.MkdirTemp("", "coai-bench-")
	if err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	program := p.coai
	if program == "" {
		if program, err = build(ctx, dir); err != nil {
			return err
		}
	}
	r := &report{out: out}
	makers := []func() (*backend, error){func() (*backend, error) { return embedded(dir) }}
	if p.database != "off" {
		makers = append(makers, func() (*backend, error) { return servers(ctx, dir, p.database, p.redis) })
	}
	sizes := []growth{{}}
	if p.growth != (growth{}) {
		sizes = append(sizes, p.growth)
	}
	for i, maker := range makers {
		for _, size := range sizes {
			b, err := maker()
			if err != nil && i > 0 {
				_, _ = fmt.Fprintf(out, "Not measured on PostgreSQL and Redis: %v\n\n", err)
				continue
			}
			if err != nil {
				return err
			}
			if size != (growth{}) {
				b.name += fmt.Sprintf(", %d channels, %d keys, %d usage records", size.channels, size.keys, size.usage)
			}
			err = (&bench{plan: p, report: r, program: program, backend: b}).run(ctx, size)
			b.drop()
			if err != nil {
				return fmt.Errorf("on %s: %w", b.name, err)
			}
		}
	}
	if p.jsonFile != "" {
		if err := r.writeJSON(p.jsonFile); err != nil {
			return err
		}
	}
	return r.failure()
}

// run measures one backend, and at last compares the ledger with the upstream.
func (b *bench) run(ctx context.Context, size growth) (err error) {
	if b.upstream, err = role(ctx, roleUpstream); err != nil {
		return err
	}
	defer b.upstream.stop()
	b.report.begin(b.backend.name)
	if b.gateway, err = gateway(ctx, b.program, b.backend, b.upstream.url, size); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.gateway.close()) }()
	if b.proxy, err = role(ctx, roleProxy, b.upstream.url); err != nil {
		return err
	}
	defer func() { b.proxy.stop() }()
	if b.measures("streams") { // first: memory is measured from a fresh process
		for _, load := range b.streams {
			if err := b.measureStreams(ctx, load); err != nil {
				return err
			}
		}
	}
	if b.measures("whole") {
		if err := b.measureWhole(ctx); err != nil {
			return err
		}
	}
	if b.measures("rate") {
		if err := b.measureRate(ctx); err != nil {
			return err
		}
	}
	return b.checkLedger(ctx)
}

func (b *bench) request() []byte { return request(b.backend.key, completion(0, 0)) }

func (b *bench) measureWhole(ctx context.Context) error {
	targets := []*process{b.proxy, b.gateway.process}
	cpu, rps := make([][]float64, 2), make([][]float64, 2)
	for range b.rounds {
		for i, to := range targets {
			perSecond, micros, err := closed(ctx, to, b.request(), b.clients, b.whole)
			if err != nil {
				return err
			}
			cpu[i], rps[i] = append(cpu[i], micros), append(rps[i], perSecond)
		}
	}
	suffix := fmt.Sprintf(", %d clients", b.clients)
	b.report.row("processor µs/request"+suffix, cpu[0], cpu[1])
	b.report.row("requests/s"+suffix, rps[0], rps[1])
	return nil
}

// measureRate compares what proxy and gateway add to the upstream's own latency.
func (b *bench) measureRate(ctx context.Context) error {
	urls := []string{b.upstream.url, b.proxy.url, b.gateway.url}
	var p50, p99 [3][]float64
	for range b.rounds {
		for i, url := range urls {
			latencies, err := open(ctx, url, b.request(), b.rate, b.whole)
			if err != nil {
				return err
			}
			p50[i] = append(p50[i], quantile(latencies, 0.50)/1e3)
			p99[i] = append(p99[i], quantile(latencies, 0.99)/1e3)
		}
	}
	added := func(of, direct []float64) []float64 {
		list := make([]float64, len(of))
		for i := range of {
			list[i] = of[i] - direct[i]
		}
		return list
	}
	suffix := fmt.Sprintf(", %d requests/s", b.rate)
	b.report.row("added µs p50"+suffix, added(p50[1], p50[0]), added(p50[2], p50[0]))
	b.report.row("added µs p99"+suffix, added(p99[1], p99[0]), added(p99[2], p99[0]))
	return nil
}

// fresh starts proxy and gateway anew, so that memory begins where it is low.
func (b *bench) fresh(ctx context.Context) error {
	b.proxy.stop()
	var err error
	if b.proxy, err = role(ctx, roleProxy, b.upstream.url); err != nil {
		return err
	}
	old := b.gateway
	old.stop()
	next, err := gateway(ctx, b.program, b.backend, b.upstream.url, growth{})
	if err != nil {
		return err
	}
	b.gateway = next
	return old.db.Close()
}

func (b *bench) measureStreams(ctx context.Context, load streamLoad) error {
	if err := b.fresh(ctx); err != nil {
		return err
	}
	targets := []*process{b.proxy, b.gateway.process}
	var cpu, first50, first99, transit50, transit99, memory [2][]float64
	var lost, idle [2]int64
	for i, to := range targets { // the first requests fill what is filled once
		err := warm(ctx, to, b.request(), 20)
		if err != nil {
			return err
		}
		if idle[i], err = to.rss(); err != nil {
			return err
		}
	}
	b.closeIdle(ctx)
	goroutines, files := b.gateway.goroutines(ctx), b.gateway.files()
	for range b.rounds {
		for i, to := range targets {
			got, err := streams(ctx, to, b.backend.key, load, b.streamed, idle[i])
			if err != nil {
				return err
			}
			cpu[i] = append(cpu[i], got.cpuMillis)
			memory[i] = append(memory[i], got.perStream)
			first50[i] = append(first50[i], quantile(got.first, 0.50)/1e6)
			first99[i] = append(first99[i], quantile(got.first, 0.99)/1e6)
			transit50[i] = append(transit50[i], quantile(got.transit, 0.50)/1e3)
			transit99[i] = append(transit99[i], quantile(got.transit, 0.99)/1e3)
			lost[i] += got.lost
		}
	}
	suffix := fmt.Sprintf(", %d streams × %d/s", load.count, load.rate)
	b.report.row("processor ms/1,000 chunks"+suffix, cpu[0], cpu[1])
	b.report.row("first token ms p50"+suffix, first50[0], first50[1])
	b.report.row("first token ms p99"+suffix, first99[0], first99[1])
	b.report.row("token transit µs p50"+suffix, transit50[0], transit50[1])
	b.report.row("token transit µs p99"+suffix, transit99[0], transit99[1])
	b.report.row("memory KiB/stream"+suffix, memory[0], memory[1])
	b.report.check("chunks lost"+suffix, "0", fmt.Sprint(lost[1]))
	b.report.check("descriptors left"+suffix, "0", b.left(ctx, b.gateway.files, files))
	b.report.check("goroutines left"+suffix, "0", b.left(ctx, func() int { return b.gateway.goroutines(ctx) }, goroutines))
	return nil
}

// left waits until a number is back where it was, and gives what it is above
// that. A few come and go with timers and the database's connections; more where
// pools of connections to servers fill under load, and stay.
func (b *bench) left(ctx context.Context, count func() int, before int) string {
	comeAndGo := 8
	if b.backend.database != "" {
		comeAndGo = 48
	}
	settled(ctx, 10*time.Second, func() bool {
		b.closeIdle(ctx)
		return count() <= before+comeAndGo
	})
	if above := count() - before; above > comeAndGo {
		return fmt.Sprint(above)
	}
	return "0"
}

// closeIdle lets the upstream close the connections that wait in pools.
func (b *bench) closeIdle(ctx context.Context) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.upstream.url+"/close-idle", http.NoBody)
	if err == nil {
		_, _ = roundTrip(req)
	}
	_ = pause(ctx, 200*time.Millisecond)
}

// checkLedger holds what was recorded against what the upstream gave.
func (b *bench) checkLedger(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.upstream.url+"/tally", http.NoBody)
	if err != nil {
		return fmt.Errorf("ask the upstream: %w", err)
	}
	var given, recorded tally
	var others int64
	settled(ctx, 10*time.Second, func() bool {
		var text []byte
		if text, err = roundTrip(req); err == nil {
			err = json.Unmarshal(text, &given)
		}
		if err == nil {
			recorded, others, err = b.gateway.ledger(ctx)
		}
		return err != nil || recorded == given && others == 0
	})
	if err != nil {
		return err
	}
	b.report.check(fmt.Sprintf("accounted, of %d completions", given.Completed), "100.00 %", percent(recorded.Completed, given.Completed))
	b.report.check(fmt.Sprintf("accounted, of %d tokens", given.Tokens), "100.00 %", percent(recorded.Tokens, given.Tokens))
	b.report.check("records that are open, failed or estimated", "0", fmt.Sprint(others))
	return nil
}

// percent never rounds to a hundred what is not all.
func percent(part, whole int64) string {
	if part == whole {
		return "100.00 %"
	}
	return fmt.Sprintf("%.4f %%", 100*float64(part)/float64(max(whole, 1)))
}
