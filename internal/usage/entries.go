package usage

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/coaidev/coai/models"
)

// An entry of a journal is its length, a checksum, and so many bytes: its kind,
// then texts with their lengths before them, and numbers.
const (
	entryBegin      = 1
	entryCheckpoint = 2
	entryEnd        = 3

	entryHeader = 4 + 4
)

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) } // made once, by the package

// seal fills in the header of the entry that begins at.
func seal(b []byte, at int) []byte {
	body := b[at+entryHeader:]
	binary.LittleEndian.PutUint32(b[at:], uint32(len(body))) //nolint:gosec // a few texts
	binary.LittleEndian.PutUint32(b[at+4:], crc32.Checksum(body, castagnoli()))
	return b
}

func head(b []byte, kind byte) []byte { return append(b, 0, 0, 0, 0, 0, 0, 0, 0, kind) }

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendBegin(b []byte, r *models.UsageRecord) []byte {
	at := len(b)
	b = head(b, entryBegin)
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
	return seal(b, at)
}

func appendCheckpoint(b []byte, c checkpoint) []byte {
	at := len(b)
	b = appendText(head(b, entryCheckpoint), c.id)
	b = binary.AppendVarint(b, c.tokens)
	b = binary.AppendVarint(b, int64(c.cost))
	return seal(b, at)
}

func appendEnd(b []byte, id string) []byte {
	at := len(b)
	return seal(appendText(head(b, entryEnd), id), at)
}

// replay gives what is open after the entries, in the order in which it began.
// It ends at the first entry that is not whole: that one was never answered.
func replay(b []byte) []*models.UsageRecord {
	var order []string
	open := make(map[string]*models.UsageRecord)
	for len(b) >= entryHeader {
		n, sum := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
		if n == 0 || uint64(n) > uint64(len(b)-entryHeader) {
			break
		}
		body := b[entryHeader : entryHeader+int(n)]
		b = b[entryHeader+int(n):]
		if crc32.Checksum(body, castagnoli()) != sum {
			break
		}
		f := fields{body[1:]}
		switch id := f.text(); body[0] {
		case entryBegin:
			if open[id] == nil {
				order = append(order, id)
			}
			open[id] = f.begun(id)
		case entryCheckpoint:
			if r := open[id]; r != nil {
				if tokens, cost := f.number(), models.Nanos(f.number()); tokens > 0 || cost > 0 {
					r.CompletionTokens, r.Cost = tokens, cost
				}
			}
		case entryEnd:
			delete(open, id)
		}
	}
	list := make([]*models.UsageRecord, 0, len(open))
	for _, id := range order {
		if r := open[id]; r != nil {
			list = append(list, r)
			delete(open, id)
		}
	}
	return list
}

// fields reads an entry. What is missing is empty.
type fields struct{ b []byte }

func (f *fields) text() string {
	n, size := binary.Uvarint(f.b)
	if size <= 0 || n > uint64(len(f.b)-size) {
		f.b = nil
		return ""
	}
	s := string(f.b[size : size+int(n)]) //nolint:gosec // at most as long as the entry
	f.b = f.b[size+int(n):]              //nolint:gosec // likewise
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
