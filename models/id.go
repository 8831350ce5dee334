// Package models is the vocabulary of the product: rows, inputs, enums, chunks
// and errors, each concept as one Go type that the database, GraphQL and REST
// share. It does no I/O.
package models

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"strings"
	"time"
)

// Prefixes of ids. An id is opaque to clients; the prefix says the type, and
// what follows sorts by the time of creation.
const (
	UserPrefix       = "user_"
	APIKeyPrefix     = "key_"
	ChannelPrefix    = "ch_"
	ModelPrefix      = "model_"
	PlanPrefix       = "plan_"
	RequestPrefix    = "req_"
	CompletionPrefix = "chatcmpl-"
	ResponsePrefix   = "resp_"
	MessagePrefix    = "msg_"
	EntryPrefix      = "be_" // of a balance
	EventPrefix      = "evt_"
	AuditPrefix      = "aud_"
	SessionPrefix    = "ses_"
	InvitationPrefix = "inv_"
	FilePrefix       = "file-"

	ConversationPrefix = "conv_"
	WebhookPrefix      = "we_"
	DeliveryPrefix     = "whd_"
)

var idEncoding = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding) //nolint:gochecknoglobals // a constant that Go cannot write as one

// NewID makes an id: the prefix and 26 lower-case base32hex characters, which
// are 52 bits of Unix microseconds and 76 random bits, so that ids made later sort
// later (to the microsecond).
func NewID(prefix string) string { return newID(prefix, uint64(time.Now().UnixMicro())) }

// timeShift leaves room for random bits behind the time.
const timeShift = 12

func newID(prefix string, micros uint64) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], micros<<timeShift)
	low := b[6] & 0xf0
	_, _ = rand.Read(b[6:]) // never fails since Go 1.24: it aborts the program instead
	b[6] = low | b[6]&0x0f
	var out [48]byte
	return string(idEncoding.AppendEncode(append(out[:0], prefix...), b[:]))
}

// NewIDAfter makes an id that sorts after another one of the same prefix, also
// within its microsecond and when clocks differ.
func NewIDAfter(prefix, last string) string {
	id := NewID(prefix)
	if id > last {
		return id
	}
	b, err := idEncoding.DecodeString(strings.TrimPrefix(last, prefix))
	if err != nil || len(b) != 16 {
		return id
	}
	return newID(prefix, binary.BigEndian.Uint64(b)>>timeShift+1)
}

// FirstID is the smallest id that [NewID] can make at t or later: ids of rows
// made before sort before it.
func FirstID(prefix string, t time.Time) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(max(t.UnixMicro(), 0))<<timeShift)
	return prefix + idEncoding.EncodeToString(b[:])
}
