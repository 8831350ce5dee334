package chat

import (
	"bytes"
	"errors"
	"io"

	"github.com/tidwall/gjson"
	"github.com/tidwall/sjson"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/sse"
	"github.com/coaidev/coai/models"
)

// Next waits for the next event of a streamed answer, and gives io.EOF after
// the last. A failure is a *models.Error; nothing follows it. [DONE] is not an
// event: endpoints that end with it write it themselves.
func (r *Relayed) Next() (Event, error) {
	for len(r.ready) == 0 {
		if r.done {
			return Event{}, r.err
		}
		r.step()
	}
	e := r.ready[0]
	r.ready = r.ready[1:]
	return e, nil
}

// step takes in what the upstream says next.
func (r *Relayed) step() {
	event, err := r.pull()
	switch {
	case ended(err):
		r.endEvents()
	case err != nil:
		r.breakOff(err)
	default:
		r.take(event)
	}
}

// Ready says that [Relayed.Next] needs no waiting for the upstream. It takes in the
// events that are there.
func (r *Relayed) Ready() bool {
	for len(r.ready) == 0 && !r.done && r.sse.Ready() {
		r.step()
	}
	return r.done || len(r.ready) > 0
}

// Read gives the answer's bytes: events too, as they go over the wire, with the
// [DONE] of text completions. A failure after the beginning is a *models.Error.
func (r *Relayed) Read(b []byte) (int, error) {
	for len(r.out) == 0 {
		if r.sse != nil {
			e, err := r.Next()
			if errors.Is(err, io.EOF) && r.call.Endpoint == providers.Completions && !r.saidDone {
				r.saidDone, r.out = true, []byte("data: [DONE]\n\n")
				continue
			}
			if err != nil {
				return 0, err
			}
			r.out = e.Append(r.outBuf[:0])
			for len(r.out) < len(b) && r.Ready() && len(r.ready) > 0 { // one write for all that are there
				e, _ := r.Next()
				r.out = e.Append(r.out)
			}
			r.outBuf = r.out
			continue
		}
		if r.done {
			return 0, r.err
		}
		n, err := r.body.Read(r.buf)
		r.takeBytes(n, err)
	}
	n := copy(b, r.out)
	r.out = r.out[n:]
	return n, nil
}

// Append writes the event as it goes over the wire. Line breaks in the JSON can
// only be white space.
// https://html.spec.whatwg.org/multipage/server-sent-events.html
func (e Event) Append(out []byte) []byte {
	if e.Type != "" {
		out = append(append(append(out, "event: "...), e.Type...), '\n')
	}
	out = append(out, "data: "...)
	for _, b := range e.Data {
		if b == '\n' || b == '\r' {
			b = ' '
		}
		out = append(out, b)
	}
	return append(out, "\n\n"...)
}

// takeBytes passes on what was read of a binary answer, but for the last byte.
func (r *Relayed) takeBytes(n int, err error) {
	r.out = append(append(r.out[:0:0], r.hold...), r.buf[:n]...)
	var unsettled error
	if ended(err) {
		if unsettled = r.job.settle(nil); unsettled == nil {
			r.finish(io.EOF)
			return
		}
	}
	if last := len(r.out) - 1; last >= 0 {
		r.hold, r.out = []byte{r.out[last]}, r.out[:last]
	}
	switch {
	case unsettled != nil:
		r.fail(unsettled)
	case err != nil:
		r.breakOff(err)
	}
}

// errDone is an upstream's own word that its stream is complete.
var errDone = errors.New("[DONE]")

// pull reads the next event that says something. A stream that ends properly
// ends with io.EOF; one that reports a failure with that.
func (r *Relayed) pull() (Event, error) {
	for {
		e, err := r.sse.Next()
		if err != nil {
			if errors.Is(err, sse.ErrTooLarge) {
				return Event{}, malformed("The upstream sent an event that is too large.")
			}
			return Event{}, err //nolint:wrapcheck // the provider's own, or io.EOF
		}
		data := bytes.TrimSpace(e.Data)
		switch {
		case len(data) == 0:
			continue
		case string(data) == errDone.Error():
			r.ended = true
			return Event{}, io.EOF
		case data[0] != '{' || !gjson.ValidBytes(data):
			if e.Cut {
				return Event{}, brokenOff(io.ErrUnexpectedEOF)
			}
			return Event{}, malformed("The upstream sent an event that is not a JSON object.")
		}
		if e.Type == "error" || bytes.Contains(data, []byte(`"error"`)) && reportsFailure(data) {
			return Event{}, &providers.Error{Class: providers.Unavailable, Message: "The upstream failed in the middle of its answer."}
		}
		return Event{Type: e.Type, Data: bytes.Clone(data)}, nil
	}
}

// reportsFailure says whether an event is an error envelope, OpenAI's or
// Anthropic's, or a response that failed.
func reportsFailure(data []byte) bool {
	root := gjson.ParseBytes(data)
	kind := root.Get("type").Str
	return kind == "error" || kind == "response.failed" || root.Get("error").IsObject() && !root.Get("id").Exists()
}

// take deals with an event.
func (r *Relayed) take(e Event) {
	j := r.job
	var last, hold bool
	if r.call.Endpoint == providers.Completions {
		var keep bool
		if e.Data, keep = j.read.chunk(e.Data, nil, r.call.WantsUsage); !keep {
			return
		}
		hold = j.read.finished
		r.ended = r.ended || hold
	} else {
		hold, last = j.read.relayedEvent(e.Data)
		j.checkpoint()
		r.ended = r.ended || hold
	}
	e.Data = j.renameEvent(e.Data)
	if !hold {
		r.ready = append(append(r.ready, r.held...), e)
		r.held = nil
		return
	}
	r.held = append(r.held, e)
	if last {
		r.complete()
	}
}

// endEvents decides what the end of the events means.
func (r *Relayed) endEvents() {
	if !r.ended {
		r.breakOff(brokenOff(io.ErrUnexpectedEOF))
		return
	}
	r.complete()
}

func brokenOff(cause error) error {
	return &providers.Error{Class: providers.Unavailable, Message: "The upstream broke off in the middle of its answer.", Cause: cause}
}

// complete settles the record, and then lets the events go out that end the answer.
func (r *Relayed) complete() {
	j := r.job
	if err := j.settle(nil); err != nil {
		r.fail(err)
		return
	}
	r.ready = append(r.ready, r.held...)
	if r.call.Endpoint == providers.Completions && r.call.WantsUsage {
		raw, err := j.read.usageChunk(j)
		if err == nil {
			raw, err = sjson.SetBytes(raw, "object", "text_completion")
		}
		if err != nil {
			r.fail(err)
			return
		}
		r.ready = append(r.ready, Event{Data: raw})
	}
	r.finish(io.EOF)
}

// breakOff ends an answer that failed after its beginning.
func (r *Relayed) breakOff(err error) {
	if err := r.job.failed(err); err != nil {
		r.fail(err)
		return
	}
	r.fail(public(r.job.last))
}

// fail ends the answer with an error for the client. Part of the answer is out:
// trying again would begin another.
func (r *Relayed) fail(err error) {
	e, _ := models.AsError(r.job.end(err))
	final := *e
	final.Final = true
	r.finish(&final)
}

// renameEvent hides the upstream's name of the model in an event, wherever
// OpenAI and Anthropic put it.
func (j *job) renameEvent(raw []byte) []byte {
	if !j.attempt.Mapped || !bytes.Contains(raw, []byte(`"model"`)) {
		return raw
	}
	for _, path := range []string{"model", "response.model", "message.model"} {
		if gjson.GetBytes(raw, path).Exists() {
			if renamed, err := sjson.SetBytes(raw, path, j.in.Model); err == nil {
				raw = renamed
			}
		}
	}
	return raw
}
