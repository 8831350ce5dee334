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
)

var idEncoding = base32.HexEncoding.WithPadding(base32.NoPadding) //nolint:gochecknoglobals // a constant that Go cannot write as one

// NewID makes an id: the prefix and 26 lower-case base32hex characters, which
// are 52 bits of Unix microseconds and 76 random bits, so that ids made later sort
// later (to the microsecond).
func NewID(prefix string) string {
	const timeShift = 12
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(time.Now().UnixMicro())<<timeShift)
	low := b[6] & 0xf0
	_, _ = rand.Read(b[6:]) // never fails since Go 1.24: it aborts the program instead
	b[6] = low | b[6]&0x0f
	return prefix + strings.ToLower(idEncoding.EncodeToString(b[:]))
}
