// Package sse reads event streams as upstreams send them.
//
// It follows https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
// with one exception: an event that the end of the stream cuts off before its
// blank line is delivered, marked [Event.Cut], because sloppy servers leave the
// last blank line out.
package sse

import (
	"bytes"
	"errors"
	"io"
)

// ErrTooLarge says that an event is over the reader's limit. The reader cannot
// go on after it.
var ErrTooLarge = errors.New("event stream: event too large")

const (
	firstBuffer = 1 << 10 // enough where events come one by one
	busyBuffer  = 4 << 10 // for sources that give more than that at once
	lineSlack   = 64      // what a line may hold beside the data: field name, colon, space
	maxEmpty    = 100
)

// Event is one event that carries data.
type Event struct {
	Type string // the name from `event:`, empty when the stream gives none (which means "message")
	ID   string // the last `id:` that the stream gave, in this event or before
	Data []byte // the `data:` lines joined by LF; valid until the next call of [Reader.Next]
	Cut  bool   // the stream ended before the blank line that ends the event: Data may be incomplete
}

// Reader splits a byte stream into events. A line may end in LF, CR or CRLF. A
// byte order mark at the start, comments, `retry:` and unknown fields are
// skipped. Its buffer starts small and grows up to the limit. It is for one
// goroutine.
type Reader struct {
	src   io.Reader
	max   int
	err   error // sticky: from the source, or ErrTooLarge
	buf   []byte
	end   int // buf[:end] is filled
	line  int // start of the line that is read next
	lf    int // first LF at or after line, when at least line
	lfTo  int // no LF in buf[line:lfTo], when lf is unknown
	crTo  int // no CR in buf[line:crTo]
	begun bool
	full  bool // the source filled the buffer: there may be more
	cr    bool // the last line ended in CR: an LF that follows belongs to it

	hasData    bool
	data, dEnd int // buf[data:dEnd] is the event's data so far, always before line
	kind, id   string
	lastKind   string // most streams repeat few names: kept, so that they are not allocated anew
}

// NewReader reads events from r. An event with more than maxEvent bytes of data
// is [ErrTooLarge]; so is a line that is longer than any line of such an event.
func NewReader(r io.Reader, maxEvent int) *Reader {
	return &Reader{src: r, max: maxEvent, lf: -1}
}

// Next waits for the next event. After the last it gives io.EOF, or the error
// that the source gave; an event that such an error cuts off is dropped.
func (r *Reader) Next() (Event, error) {
	r.hasData, r.kind = false, ""
	for {
		eol, ok := r.findEOL()
		if !ok {
			if r.pending()+r.end-r.line > r.max+lineSlack {
				return Event{}, r.fail(ErrTooLarge)
			}
			if r.err == nil {
				r.fill()
				continue
			}
			return r.last()
		}
		line := r.buf[r.line:eol]
		r.cr = r.buf[eol] == '\r'
		if len(line) == 0 {
			r.line = eol + 1
			if r.hasData {
				return r.event(false), nil
			}
			r.kind = ""
			continue
		}
		start := r.line
		r.line = eol + 1
		if err := r.field(line, start); err != nil {
			return Event{}, err
		}
	}
}

// Buffered is the next event as it was sent, when all of it has been read from
// the source already and its lines end in LF; else nil. It is valid until the
// next call of [Reader.Next].
func (r *Reader) Buffered() []byte {
	from := r.line
	if r.cr && from < r.end && r.buf[from] == '\n' {
		from++
	}
	if i := bytes.Index(r.buf[from:r.end], []byte("\n\n")); i >= 0 {
		return r.buf[from : from+i]
	}
	return nil
}

// Ready says that [Reader.Next] gives an event with data in it without reading from
// the source. It may say no when that is so: of lines that end in CR alone it knows
// nothing.
func (r *Reader) Ready() bool {
	from := r.line
	if r.cr && from < r.end && r.buf[from] == '\n' {
		from++
	}
	for rest := r.buf[from:r.end]; ; {
		line, after, whole := bytes.Cut(rest, []byte{'\n'})
		line = bytes.TrimSuffix(line, []byte{'\r'})
		value, data := bytes.CutPrefix(line, []byte("data:"))
		if !whole || len(line) == 0 { // an event without data says nothing, and Next goes on
			return false
		}
		if data && len(bytes.TrimSpace(value)) > 0 {
			return bytes.Contains(after, []byte("\n\n")) || bytes.Contains(after, []byte("\n\r\n")) ||
				bytes.HasPrefix(after, []byte{'\n'}) || bytes.HasPrefix(after, []byte("\r\n"))
		}
		rest = after
	}
}

// last deals with what is left when the source has ended.
func (r *Reader) last() (Event, error) {
	if !errors.Is(r.err, io.EOF) {
		return Event{}, r.err
	}
	if rest := r.buf[r.line:r.end]; len(rest) > 0 {
		start := r.line
		r.line = r.end
		if err := r.field(rest, start); err != nil {
			return Event{}, err
		}
	}
	if r.hasData {
		return r.event(true), nil
	}
	return Event{}, r.err
}

func (r *Reader) event(cut bool) Event {
	return Event{Type: r.kind, ID: r.id, Data: r.buf[r.data:r.dEnd:r.dEnd], Cut: cut}
}

// pending is the length of the event's data so far.
func (r *Reader) pending() int {
	if !r.hasData {
		return 0
	}
	return r.dEnd - r.data
}

// findEOL gives the index of the CR or LF that ends the current line. What was
// searched once is not searched again, neither when more bytes arrive nor when
// the stream uses only one of the two.
func (r *Reader) findEOL() (int, bool) {
	if r.cr && r.line < r.end {
		if r.buf[r.line] == '\n' {
			r.line++
		}
		r.cr = false
	}
	if !r.begun && !r.skipBOM() {
		return 0, false
	}
	if r.lf < r.line {
		from := max(r.line, r.lfTo)
		r.lfTo = r.end
		if i := bytes.IndexByte(r.buf[from:r.end], '\n'); i >= 0 {
			r.lf = from + i
			r.lfTo = r.lf + 1
		}
	}
	stop := r.end
	if r.lf >= r.line {
		stop = r.lf
	}
	if from := max(r.line, r.crTo); from < stop {
		if i := bytes.IndexByte(r.buf[from:stop], '\r'); i >= 0 {
			return from + i, true
		}
		r.crTo = stop
	}
	return r.lf, r.lf >= r.line
}

// skipBOM drops a byte order mark, and says whether enough bytes are there to know.
func (r *Reader) skipBOM() bool {
	const bom = "\xEF\xBB\xBF"
	n := min(r.end, len(bom))
	if r.err == nil && n < len(bom) && string(r.buf[:n]) == bom[:n] {
		return false
	}
	if string(r.buf[:n]) == bom {
		r.line = len(bom)
	}
	r.begun = true
	return true
}

// field takes in one line of an event; start is its place in the buffer.
func (r *Reader) field(line []byte, start int) error {
	if r.pending()+len(line) > r.max+lineSlack {
		return r.fail(ErrTooLarge)
	}
	name, value, from := line, []byte(nil), start+len(line)
	if i := bytes.IndexByte(line, ':'); i >= 0 {
		name, value, from = line[:i], line[i+1:], start+i+1
		if len(value) > 0 && value[0] == ' ' {
			value, from = value[1:], from+1
		}
	}
	switch string(name) {
	case "data":
		if !r.hasData {
			r.hasData, r.data, r.dEnd = true, from, from+len(value)
		} else {
			// The data moves towards the front, over bytes that are read already.
			r.buf[r.dEnd] = '\n'
			r.dEnd += 1 + copy(r.buf[r.dEnd+1:], value)
		}
		if r.pending() > r.max {
			return r.fail(ErrTooLarge)
		}
	case "event":
		if string(value) != r.lastKind {
			r.lastKind = string(value)
		}
		r.kind = r.lastKind
	case "id":
		if bytes.IndexByte(value, 0) < 0 && string(value) != r.id {
			r.id = string(value)
		}
	}
	return nil
}

func (r *Reader) fail(err error) error {
	r.err, r.end, r.hasData = err, r.line, false
	r.lf, r.lfTo, r.crTo = -1, r.line, r.line
	return err
}

// fill reads more bytes, after making room for them.
func (r *Reader) fill() {
	if r.end == len(r.buf) || r.line == r.end && !r.hasData { // the latter costs nothing
		r.compact()
	}
	if r.end == len(r.buf) || r.full && len(r.buf) < busyBuffer {
		size := max(2*len(r.buf), firstBuffer)
		if len(r.buf) > 0 && size < busyBuffer {
			size = busyBuffer
		}
		grown := make([]byte, min(size, r.max+2*lineSlack+firstBuffer))
		copy(grown, r.buf[:r.end])
		r.buf = grown
	}
	for range maxEmpty {
		n, err := r.src.Read(r.buf[r.end:])
		r.end += n
		r.err, r.full = err, r.end == len(r.buf)
		if n > 0 || err != nil {
			return
		}
	}
	r.err = io.ErrNoProgress
}

// compact moves what is still needed to the front of the buffer: the event's
// data, and the line that is not yet complete.
func (r *Reader) compact() {
	n := 0
	if r.hasData {
		n = copy(r.buf, r.buf[r.data:r.dEnd])
		r.data, r.dEnd = 0, n
	}
	back := r.line - n
	if back == 0 {
		return
	}
	copy(r.buf[n:], r.buf[r.line:r.end])
	r.line, r.end = n, r.end-back
	r.lf, r.lfTo, r.crTo = max(r.lf-back, -1), max(r.lfTo-back, 0), max(r.crTo-back, 0)
}
