package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test's program play the roles too: it is what role starts.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == roleUpstream || os.Args[1] == roleProxy) {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestQuick runs everything once with a little load. It looks at what must be
// exact, and at no time.
func TestQuick(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and starts the gateway")
	}
	file := filepath.Join(t.TempDir(), "figures.json")
	var out bytes.Buffer
	args := []string{
		"-quick", "-clients", "4", "-time", "200ms", "-rate", "50", "-streams", "20x20", "-stream-time", "300ms", "-json", file,
		"-growth", "-usage-rows", "1000", "-grown-channels", "20", "-grown-keys", "1000",
	}
	if err := run(t.Context(), args, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Figures) != 2*10 || len(r.Checks) != 2*6 {
		t.Errorf("%d figures and %d checks, want 20 and 12:\n%s", len(r.Figures), len(r.Checks), out.String())
	}
	for _, f := range r.Figures {
		// So little processor time may be less than the kernel's tick.
		if !strings.HasPrefix(f.Name, "processor") && (f.Proxy.Max == 0 || f.Gateway.Max == 0) {
			t.Errorf("%s on %s was not measured: %+v", f.Name, f.Backend, f)
		}
	}
	if !strings.Contains(out.String(), "100.00 %") {
		t.Errorf("the table says nothing of what was accounted:\n%s", out.String())
	}
}

func TestParse(t *testing.T) {
	p, err := parse([]string{"-streams", "3x4,5x6", "-modes", "rate"})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.streams) != 2 || p.streams[1] != (streamLoad{5, 6}) || p.measures("whole") || !p.measures("rate") {
		t.Errorf("parsed %+v", p)
	}
	for _, args := range [][]string{{"-streams", "many"}, {"-streams", "0x5"}, {"-rounds", "0"}, {"-rate", "0"}, {"-time", "0s"}, {"-no-such"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("%v was taken", args)
		}
	}
}

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   spread
	}{
		{nil, spread{}},
		{[]float64{3}, spread{3, 3, 3}},
		{[]float64{9, 1, 2}, spread{2, 1, 9}},
		{[]float64{4, 1, 2, 9}, spread{3, 1, 9}},
	} {
		if got := spreadOf(c.values); got != c.want {
			t.Errorf("spreadOf(%v) = %v, want %v", c.values, got, c.want)
		}
	}
}

func TestQuantile(t *testing.T) {
	values := make([]int64, 100)
	for i := range values {
		values[i] = int64(100 - i) // 1 to 100, unsorted
	}
	for q, want := range map[float64]float64{0: 1, 0.5: 51, 0.99: 100, 1: 100} {
		if got := quantile(values, q); got != want {
			t.Errorf("quantile(%g) = %g, want %g", q, got, want)
		}
	}
	if got := quantile(nil, 0.5); got != 0 {
		t.Errorf("of nothing: %g", got)
	}
}

func TestRatios(t *testing.T) {
	got := ratios([]float64{4, 9, 7}, []float64{2, 3, 0})
	if len(got) != 2 || got[0] != 2 || got[1] != 3 {
		t.Errorf("ratios = %v, want [2 3]: a round without a figure has none", got)
	}
}

func TestPercent(t *testing.T) {
	for _, c := range []struct {
		part, whole int64
		want        string
	}{{7, 7, "100.00 %"}, {0, 0, "100.00 %"}, {9_999_999, 10_000_000, "100.0000 %"}, {1, 2, "50.0000 %"}} {
		if got := percent(c.part, c.whole); got != c.want {
			t.Errorf("percent(%d, %d) = %s, want %s", c.part, c.whole, got, c.want)
		}
	}
}

func TestParseProc(t *testing.T) {
	cpu, err := parseStat("42 (a name) with (x)) S 1 42 42 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 9 0 1 2 3")
	if err != nil || cpu != 3*time.Second {
		t.Errorf("parseStat = %v, %v; want 3s", cpu, err)
	}
	rss, err := parseStatus("Name:\tcoai\nVmRSS:\t   61440 kB\nThreads:\t9\n")
	if err != nil || rss != 61440 {
		t.Errorf("parseStatus = %d, %v; want 61440", rss, err)
	}
	for _, text := range []string{"", "1 (x) S 2"} {
		if _, err := parseStat(text); err == nil {
			t.Errorf("parseStat(%q) took it", text)
		}
		if _, err := parseStatus(text); err == nil {
			t.Errorf("parseStatus(%q) took it", text)
		}
	}
}

// TestFailure keeps a wrong check from passing unseen.
func TestFailure(t *testing.T) {
	r := report{out: new(bytes.Buffer)}
	r.check("accounted", "100.00 %", "100.00 %")
	if err := r.failure(); err != nil {
		t.Errorf("all is well, but %v", err)
	}
	r.check("chunks lost", "0", "3")
	if err := r.failure(); err == nil || !strings.Contains(err.Error(), "chunks lost is 3") {
		t.Errorf("failure() = %v", err)
	}
}

// TestLostChunk cuts a stream short: the client must notice.
func TestLostChunk(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	up, err := role(ctx, roleUpstream)
	if err != nil {
		t.Fatal(err)
	}
	defer up.stop()
	c, err := dial(ctx, up.url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	n := 0
	_, err = c.stream(request("", completion(10, time.Millisecond)), func() {
		if n++; n == 5 {
			_ = c.Close()
		}
	})
	if err == nil || n > 9 {
		t.Errorf("a stream that was cut after 5 of 10 chunks: %d seen, error %v", n, err)
	}
}
