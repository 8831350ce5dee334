package usage

import (
	"encoding/binary"

	"github.com/coaidev/coai/models"
)

// SaveCheckpoints does what the heartbeat does every few seconds.
func (l *Ledger) SaveCheckpoints() error { return l.save(l.checkpoints()) }

// Replay reads a journal.
func Replay(file []byte) []*models.UsageRecord { return replay(file) }

// JournalOf is a journal in which these have begun.
func JournalOf(records ...*models.UsageRecord) []byte {
	var entries []byte
	for _, r := range records {
		entries = appendBegin(entries, r)
	}
	return Framed(entries)
}

// Framed is a journal with these entries in one frame.
func Framed(entries []byte) []byte {
	half := halfHeader + frameHeader + len(entries)
	file := make([]byte, 2*half)
	file[0] = 2
	binary.LittleEndian.PutUint32(file[halfHeader:], uint32(len(entries)))
	binary.LittleEndian.PutUint32(file[halfHeader+4:], checksum(2, entries))
	copy(file[halfHeader+frameHeader:], entries)
	return file
}
