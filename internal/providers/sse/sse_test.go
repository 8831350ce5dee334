package sse_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/coaidev/coai/internal/providers/sse"
)

// event is a delivered event with its data copied.
type event struct {
	kind, id, data string
	cut            bool
}

func collect(r io.Reader, limit int) ([]event, error) {
	reader := sse.NewReader(r, limit)
	var got []event
	for {
		e, err := reader.Next()
		if err != nil {
			return got, err
		}
		got = append(got, event{e.Type, e.ID, string(e.Data), e.Cut})
	}
}

// splitReader gives its input in pieces that end at the given offsets.
type splitReader struct {
	rest string
	cuts []int
	read int
}

func (s *splitReader) Read(p []byte) (int, error) {
	if s.rest == "" {
		return 0, io.EOF
	}
	n := min(len(p), len(s.rest))
	for len(s.cuts) > 0 && s.cuts[0] <= s.read {
		s.cuts = s.cuts[1:]
	}
	if len(s.cuts) > 0 {
		n = min(n, s.cuts[0]-s.read)
	}
	copy(p, s.rest[:n])
	s.rest, s.read = s.rest[n:], s.read+n
	return n, nil
}

func data(lines ...string) []event {
	var events []event
	for _, l := range lines {
		events = append(events, event{data: l})
	}
	return events
}

func TestReader(t *testing.T) {
	tests := map[string]struct {
		in   string
		want []event
	}{
		"nothing":                        {"", nil},
		"one":                            {"data: a\n\n", data("a")},
		"two":                            {"data: a\n\ndata: b\n\n", data("a", "b")},
		"no space":                       {"data:a\n\n", data("a")},
		"only one space is dropped":      {"data:  a \n\n", data(" a ")},
		"CRLF":                           {"data: a\r\n\r\ndata: b\r\n\r\n", data("a", "b")},
		"CR":                             {"data: a\r\rdata: b\r\r", data("a", "b")},
		"mixed line ends":                {"data: a\r\ndata: b\rdata: c\n\r\ndata: d\n\r", data("a\nb\nc", "d")},
		"several data lines":             {"data: a\ndata:\ndata: b\n\n", data("a\n\nb")},
		"data lines around others":       {"data: a\n: c\nfoo: x\ndata: b\nretry: 5\n\n", data("a\nb")},
		"data without colon is empty":    {"data\n\ndata\ndata\n\n", data("", "\n")},
		"empty data":                     {"data:\n\n", data("")},
		"comments alone give nothing":    {": ping\n\n:\n\n: x\n\n", nil},
		"comment before an event":        {": ping\n\ndata: a\n\n", data("a")},
		"many blank lines":               {"\n\n\n\r\n\rdata: a\n\n\n\n", data("a")},
		"byte order mark":                {"\xEF\xBB\xBFdata: a\n\n", data("a")},
		"second byte order mark":         {"\xEF\xBB\xBF\xEF\xBB\xBFdata: a\n\ndata: b\n\n", data("b")},
		"half a byte order mark":         {"\xEF\xBBdata: a\n\ndata: b\n\n", data("b")},
		"field names are case-sensitive": {"Data: a\n\ndata: b\n\n", data("b")},
		"space before the name":          {" data: a\n\ndata: b\n\n", data("b")},
		"colon in data":                  {"data: a: b:c\n\n", data("a: b:c")},
		"UTF-8":                          {"data: žlutý 🐎\n\n", data("žlutý 🐎")},
		"NUL in data":                    {"data: a\x00b\n\n", data("a\x00b")},
		"named":                          {"event: delta\ndata: a\n\ndata: b\n\n", []event{{kind: "delta", data: "a"}, {data: "b"}}},
		"last name wins":                 {"event: x\nevent: y\ndata: a\n\n", []event{{kind: "y", data: "a"}}},
		"a name without data is dropped": {"event: x\n\ndata: a\n\n", data("a")},
		"ids stay":                       {"id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\n", []event{{id: "1", data: "a"}, {id: "1", data: "b"}, {data: "c"}}},
		"an id with NUL is ignored":      {"id: 1\ndata: a\n\nid: 2\x00\ndata: b\n\n", []event{{id: "1", data: "a"}, {id: "1", data: "b"}}},
		"no final blank line":            {"data: a\n\ndata: b\n", []event{{data: "a"}, {data: "b", cut: true}}},
		"no final line end":              {"data: a\n\ndata: b", []event{{data: "a"}, {data: "b", cut: true}}},
		"CR as the very last byte":       {"data: a\r", []event{{data: "a", cut: true}}},
		"cut off in a field name":        {"data: a\n\ndat", data("a")},
		"cut off without data":           {"data: a\n\nevent: x", data("a")},
		"long":                           {"data: " + strings.Repeat("x", 90_000) + "\n\ndata: b\n\n", data(strings.Repeat("x", 90_000), "b")},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			for reader, r := range map[string]io.Reader{
				"at once":      strings.NewReader(test.in),
				"by bytes":     iotest.OneByteReader(strings.NewReader(test.in)),
				"EOF and data": iotest.DataErrReader(strings.NewReader(test.in)),
			} {
				got, err := collect(r, 100_000)
				if !errors.Is(err, io.EOF) {
					t.Fatalf("%s: error %v, want EOF", reader, err)
				}
				if !reflect.DeepEqual(got, test.want) {
					t.Errorf("%s: got %.200v, want %.200v", reader, got, test.want)
				}
			}
		})
	}
}

func TestReaderLimit(t *testing.T) {
	const limit = 1000
	x := func(n int) string { return strings.Repeat("x", n) }
	tests := map[string]struct {
		in    string
		want  int // events before the end
		large bool
	}{
		"at the limit":                  {"data: " + x(limit) + "\n\n", 1, false},
		"over it":                       {"data: a\n\ndata:" + x(limit+1) + "\n\n", 1, true},
		"over it in several lines":      {strings.Repeat("data: "+x(99)+"\n", 11) + "\n", 0, true},
		"at the limit in several lines": {strings.Repeat("data: "+x(99)+"\n", 10) + "\n", 1, false},
		"a line without an end":         {"data: a\n\ndata: b\n\n" + x(5*limit), 2, true},
		"an endless comment":            {":" + x(5*limit), 0, true},
		"comments do not add up":        {"data: a\n" + strings.Repeat(": "+x(500)+"\n", 100) + "data: b\n\n", 1, false},
		"many small events":             {strings.Repeat("data: "+x(100)+"\n\n", 1000), 1000, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			for _, r := range []io.Reader{strings.NewReader(test.in), iotest.OneByteReader(strings.NewReader(test.in))} {
				reader := sse.NewReader(r, limit)
				var err error
				n := 0
				for ; err == nil; n++ {
					_, err = reader.Next()
				}
				if n-1 != test.want || errors.Is(err, sse.ErrTooLarge) != test.large {
					t.Errorf("%d events, then %v", n-1, err)
				}
				if _, again := reader.Next(); !errors.Is(again, err) {
					t.Errorf("after %v another call gave %v", err, again)
				}
			}
		})
	}
}

func TestReaderSourceErrors(t *testing.T) {
	broken := errors.New("broken")
	got, err := collect(io.MultiReader(strings.NewReader("data: a\n\ndata: b\n"), iotest.ErrReader(broken)), 100)
	if !errors.Is(err, broken) || !reflect.DeepEqual(got, data("a")) {
		t.Errorf("got %v, %v: the half event must be dropped and the error shown", got, err)
	}
	_, err = collect(emptyReader{}, 100)
	if !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a source that gives nothing: %v", err)
	}
}

type emptyReader struct{}

func (emptyReader) Read([]byte) (int, error) { return 0, nil }

// Lines that all end in CR, or all in LF, must not be searched for the other
// over and over: that would take minutes here.
func TestReaderLinearTime(t *testing.T) {
	for _, eol := range []string{"\r", "\n", "\r\n"} {
		in := "data: " + strings.Repeat("x", 8<<20) + eol + eol + strings.Repeat("data: a"+eol+eol, 1<<20)
		reader, n := sse.NewReader(strings.NewReader(in), 16<<20), 0
		for {
			if _, err := reader.Next(); err != nil {
				break
			}
			n++
		}
		if n != 1+1<<20 {
			t.Errorf("%q: %d events", eol, n)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte("\xEF\xBB\xBFdata: a\r\n\r\nevent: x\rid: 1\rdata:b\r\rdata: c\n: d\ndata\n\n"), uint16(3), uint16(9))
	f.Add([]byte("data: 0123456789012345678901234567890123456789\n\ndata: b"), uint16(1), uint16(50))
	f.Add([]byte("data: a\r\ndata: b\n\rid: \x00\n\n\xEF\xBB"), uint16(8), uint16(9))
	f.Fuzz(func(t *testing.T, in []byte, a, b uint16) {
		const limit = 40
		want, wantErr := collect(bytes.NewReader(in), limit)
		for name, r := range map[string]io.Reader{
			"two cuts":                    &splitReader{rest: string(in), cuts: []int{min(int(a), int(b)), max(int(a), int(b))}},
			"by bytes":                    iotest.OneByteReader(bytes.NewReader(in)),
			"by bytes, EOF with the last": iotest.DataErrReader(iotest.OneByteReader(bytes.NewReader(in))),
		} {
			got, err := collect(r, limit)
			if !reflect.DeepEqual(got, want) || !errors.Is(err, wantErr) {
				t.Errorf("%s: %+v, %v; at once: %+v, %v", name, got, err, want, wantErr)
			}
		}
		for _, e := range want {
			if len(e.data) > limit {
				t.Errorf("%d bytes of data", len(e.data))
			}
		}
	})
}

// What the reader says is ready needs no read from the source.
func TestReady(t *testing.T) {
	for name, c := range map[string]struct {
		first, rest string
		ready       bool
	}{
		"another event":        {"data: a\n\n", "data: b\n\n", true},
		"with a name":          {"data: a\n\n", "event: x\ndata: b\nid: 1\n\n", true},
		"lines end in CRLF":    {"data: a\r\n\r\n", "event: x\r\ndata: b\r\n\r\n", true},
		"nothing":              {"data: a\n\n", "", false},
		"half a line":          {"data: a\n\n", "data: b", false},
		"no blank line yet":    {"data: a\n\n", "data: b\ndata: c\n", false},
		"a comment":            {"data: a\n\n", ": ping\n\n", false},
		"no data":              {"data: a\n\n", "event: ping\n\n", false},
		"no data, then an end": {"data: a\n\n", "data:\n\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			reads := 0
			reader := sse.NewReader(readerFunc(func(b []byte) (int, error) {
				if reads++; reads > 1 {
					return 0, io.EOF
				}
				return copy(b, c.first+c.rest), nil
			}), 1<<20)
			if reader.Ready() {
				t.Error("ready before anything was read")
			}
			if _, err := reader.Next(); err != nil {
				t.Fatal(err)
			}
			if got := reader.Ready(); got != c.ready {
				t.Errorf("ready: %v", got)
			}
			if !c.ready {
				return
			}
			if e, err := reader.Next(); err != nil || string(e.Data) != "b" || reads != 1 {
				t.Errorf("%q, %v after %d reads", e.Data, err, reads)
			}
		})
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

func TestReaderAllocations(t *testing.T) {
	in := strings.NewReader(strings.Repeat("event: delta\ndata: {\"a\":1}\n\n", 10_000))
	reader := sse.NewReader(in, 1<<20)
	if _, err := reader.Next(); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(5000, func() { _, _ = reader.Next() }); n != 0 {
		t.Errorf("%v allocations for an event, want none", n)
	}
}

func BenchmarkReader(b *testing.B) {
	for _, size := range []int{250, 64 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			const events = 100
			in := []byte(strings.Repeat("data: "+strings.Repeat("x", size)+"\n\n", events))
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				reader, n := sse.NewReader(bytes.NewReader(in), 1<<20), 0
				for {
					if _, err := reader.Next(); err != nil {
						break
					}
					n++
				}
				if n != events {
					b.Fatal(n)
				}
			}
		})
	}
}
