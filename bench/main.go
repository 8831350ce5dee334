// Command bench measures the gateway from outside, as a client sees it, beside a
// bare httputil.ReverseProxy in front of the same upstream on the same machine.
//
//	go run ./bench            everything that this machine can run
//	go run ./bench -quick     under a minute
//
// Upstream, proxy, gateway and load generator are a process each; the processor
// time and memory of a process are what the kernel says. The gateway runs with
// everything on: keys, the windows of a plan, the durable ledger, metrics. Compare
// the ratios of one run: absolute numbers belong to a machine and a moment.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// The roles that a process of this program plays, as its first argument.
const (
	roleUpstream = "upstream"
	roleProxy    = "proxy"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) //nolint:gocritic // nothing is deferred but the signals
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	raiseFiles()
	if len(args) > 0 {
		switch args[0] {
		case roleUpstream:
			return serveUpstream(ctx, out)
		case roleProxy:
			return serveProxy(ctx, args[1:], out)
		}
	}
	p, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	return p.run(ctx, out)
}

// raiseFiles lets this process, and those that it starts, have as many
// descriptors as the system allows.
func raiseFiles() {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) == nil {
		limit.Cur = limit.Max
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
	}
}

// plan says what is measured.
type plan struct {
	coai     string // the program; empty: built from this module
	database string // of the second backend; off: none
	redis    string
	jsonFile string
	modes    string

	rounds   int
	clients  int
	whole    time.Duration // of a round of whole completions
	rate     int           // requests a second in the open loop
	streams  []streamLoad
	streamed time.Duration // of a round of streams, after the last has opened
	growth   growth
}

// streamLoad is a number of streams, each of so many chunks a second.
type streamLoad struct{ count, rate int }

// growth is what is in the database before the gateway starts.
type growth struct{ channels, keys, usage int }

func parse(args []string) (*plan, error) {
	p := &plan{}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.StringVar(&p.coai, "coai", "", "the gateway's `program`; empty: built from this module")
	flags.StringVar(&p.database, "database", "postgres://postgres@127.0.0.1:5432/postgres", "PostgreSQL `URL` that lets databases be made; off: only the embedded ones")
	flags.StringVar(&p.redis, "redis", "redis://127.0.0.1:6379/15", "Redis `URL`, used with -database")
	flags.StringVar(&p.jsonFile, "json", "", "also write the figures to this `file`")
	flags.StringVar(&p.modes, "modes", "whole,rate,streams", "what to measure")
	flags.IntVar(&p.rounds, "rounds", 3, "rounds of each measurement, proxy and gateway in turn")
	flags.IntVar(&p.clients, "clients", 64, "clients of the closed loop")
	flags.DurationVar(&p.whole, "time", 4*time.Second, "time of a round of whole completions")
	flags.IntVar(&p.rate, "rate", 200, "requests a second in the open loop")
	flags.DurationVar(&p.streamed, "stream-time", 6*time.Second, "time of a round of streams")
	streams := flags.String("streams", "500x20,2000x5", "streams × chunks a second of each")
	quick := flags.Bool("quick", false, "short rounds, on the embedded backends only")
	grow := flags.Bool("growth", false, "measure again with a full database")
	flags.IntVar(&p.growth.channels, "grown-channels", 1_000, "channels of 100 models for -growth")
	flags.IntVar(&p.growth.keys, "grown-keys", 100_000, "API keys for -growth")
	flags.IntVar(&p.growth.usage, "usage-rows", 1_000_000, "usage records for -growth")
	if err := flags.Parse(args); err != nil {
		return nil, fmt.Errorf("read flags: %w", err)
	}
	if *quick {
		p.rounds, p.database = 1, "off"
		p.whole, p.streamed = min(p.whole, 1500*time.Millisecond), min(p.streamed, 2*time.Second)
	}
	if !*grow {
		p.growth = growth{}
	}
	for part := range strings.SplitSeq(*streams, ",") {
		var l streamLoad
		if _, err := fmt.Sscanf(part, "%dx%d", &l.count, &l.rate); err != nil || l.count < 1 || l.rate < 1 {
			return nil, fmt.Errorf("-streams: %q is not like 500x20", part)
		}
		p.streams = append(p.streams, l)
	}
	if p.rounds < 1 || p.clients < 1 || p.rate < 1 || p.whole <= 0 || p.streamed <= 0 {
		return nil, errors.New("-rounds, -clients, -rate, -time and -stream-time must be above zero")
	}
	return p, nil
}

func (p *plan) measures(mode string) bool {
	for m := range strings.SplitSeq(p.modes, ",") {
		if m == mode {
			return true
		}
	}
	return false
}
