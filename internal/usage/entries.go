package usage

import (
	"encoding/binary"
	"errors"
	"os"
	"time"

	"github.com/coaidev/coai/models"
)

// zeroed makes a file whose blocks are all there, so that none is wanting when
// something is put into it.
func zeroed(name string, size int) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600) //nolint:gosec // beside the database that the operator names
	if err != nil {
		return nil, err
	}
	if _, err := f.Write(make([]byte, size)); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(name))
	}
	return f, nil
}

// An entry of a journal is its kind, then texts with their lengths before them,
// and numbers.
const (
	entryBegin      = 1
	entryCheckpoint = 2
	entryEnd        = 3
)

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendBegin(b []byte, r *models.UsageRecord) []byte {
	b = append(b, entryBegin)
	for _, s := range [...]string{r.ID, r.RequestID, r.UserID, r.APIKeyID, r.ChannelID, r.Model, r.UpstreamModel, string(r.Operation)} {
		b = appendText(b, s)
	}
	stream := int64(0)
	if r.Stream {
		stream = 1
	}
	for _, n := range [...]int64{stream, r.PromptTokens, r.CompletionTokens, int64(r.Cost), r.CreatedAt.UnixMicro()} {
		b = binary.AppendVarint(b, n)
	}
	return b
}

// appendCheckpoint appends nothing for one that has noted nothing yet.
func appendCheckpoint(b []byte, c checkpoint) []byte {
	if c.tokens == 0 && c.cost == 0 {
		return b
	}
	b = appendText(append(b, entryCheckpoint), c.id)
	b = binary.AppendVarint(b, c.tokens)
	return binary.AppendVarint(b, int64(c.cost))
}

func appendEnd(b []byte, id string) []byte { return appendText(append(b, entryEnd), id) }

// begun is what a journal tells of, as far as it was read.
type begun struct {
	open  map[string]*models.UsageRecord
	order []string
}

func newBegun() *begun { return &begun{open: map[string]*models.UsageRecord{}} }

// read goes through entries. An unknown one ends it.
func (g *begun) read(b []byte) {
	f := fields{b}
	for len(f.b) > 0 {
		kind := f.b[0]
		f.b = f.b[1:]
		switch id := f.text(); kind {
		case entryBegin:
			g.order = append(g.order, id)
			g.open[id] = f.begun(id)
		case entryCheckpoint:
			tokens, cost := f.number(), models.Nanos(f.number())
			if r := g.open[id]; r != nil {
				r.CompletionTokens, r.Cost = tokens, cost
			}
		case entryEnd:
			delete(g.open, id)
		default:
			return
		}
	}
}

// list is what is open, in the order in which it began.
func (g *begun) list() []*models.UsageRecord {
	list := make([]*models.UsageRecord, 0, len(g.open))
	for _, id := range g.order {
		if r := g.open[id]; r != nil {
			list = append(list, r)
			delete(g.open, id)
		}
	}
	return list
}

// fields reads entries. What is missing is empty.
type fields struct{ b []byte }

func (f *fields) text() string {
	n, size := binary.Uvarint(f.b)
	if size <= 0 || n > uint64(len(f.b)-size) {
		f.b = nil
		return ""
	}
	end := size + int(n)
	s := string(f.b[size:end])
	f.b = f.b[end:]
	return s
}

func (f *fields) number() int64 {
	v, size := binary.Varint(f.b)
	if size <= 0 {
		f.b = nil
		return 0
	}
	f.b = f.b[size:]
	return v
}

func (f *fields) begun(id string) *models.UsageRecord {
	return &models.UsageRecord{
		ID: id, RequestID: f.text(), UserID: f.text(), APIKeyID: f.text(), ChannelID: f.text(),
		Model: f.text(), UpstreamModel: f.text(), Operation: models.Operation(f.text()),
		Stream: f.number() != 0, PromptTokens: f.number(), CompletionTokens: f.number(), Cost: models.Nanos(f.number()),
		CreatedAt: time.UnixMicro(f.number()).UTC(),
	}
}
