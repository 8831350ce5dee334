package usage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"

	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

const (
	// A journal is beside the SQLite file, with a lock of the same name.
	journalMark = "-begun-"
	lockSuffix  = ".lock"
	// firstHalf is the size in bytes of a half, unless more is open than fits in.
	firstHalf = 2 << 20

	halfHeader  = 8     // the number of the turn, which seeds the checksums
	frameHeader = 4 + 4 // the length, and a checksum
)

// journal is what one process has begun on SQLite: a file beside the database
// into which each begin is put before the upstream hears of it. It is mapped into
// memory: what is stored there outlives this process, however that ends, without
// a system call, let alone a commit. It is not forced to the disk, so that begins
// of the last seconds are lost when the machine loses its power.
//
// The file has two halves. When one is full, what is still open is written into
// the other, and then the number at its beginning, which makes it the current one.
// The lock goes with the process, and tells others that nobody will end what is
// open. A journal is guarded by the ledger's mutex.
type journal struct {
	database string
	half     int // the size of one

	name   string
	lock   *flock.Flock // nil until the first begin
	memory *region
	turn   uint64 // odd ones are in the second half
	at     int    // in the current half
	buf    []byte
}

func newJournal(db *storage.DB) *journal {
	if db.Dialect() != storage.SQLite {
		return nil
	}
	return &journal{database: db.Path(), half: firstHalf}
}

// open makes the file, under a name of its own, after its lock.
func (j *journal) open() error {
	name := j.database + models.NewID(journalMark)
	lock := flock.New(name+lockSuffix, flock.SetPermissions(0o600))
	if ok, err := lock.TryLock(); err != nil || !ok {
		return fmt.Errorf("lock the journal: %w", errors.Join(err, lock.Close()))
	}
	memory, err := newRegion(name, 2*j.half)
	if err != nil {
		return errors.Join(fmt.Errorf("make the journal: %w", err), discard(lock))
	}
	j.name, j.lock, j.memory, j.turn, j.at = name, lock, memory, 0, j.half
	return nil
}

// discard removes a lock that is held.
func discard(lock *flock.Flock) error {
	return errors.Join(os.Remove(lock.Path()), lock.Unlock())
}

// write puts entries into the journal, in one frame: all of them, or none.
func (j *journal) write(entries []byte, open map[string]*opened) error {
	if j.lock == nil {
		if err := j.open(); err != nil {
			return err
		}
	}
	if j.at+frameHeader+len(entries) > j.half {
		if err := j.turnOver(open, len(entries)); err != nil {
			return err
		}
	}
	return j.frame(entries)
}

func (j *journal) frame(entries []byte) error {
	var head [frameHeader]byte
	binary.LittleEndian.PutUint32(head[:], uint32(len(entries)))
	binary.LittleEndian.PutUint32(head[4:], checksum(j.turn, entries))
	at := j.base() + j.at
	err := errors.Join(j.memory.store(at+frameHeader, entries), j.memory.store(at, head[:]))
	if err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	j.at += frameHeader + len(entries)
	return nil
}

// base is where the current half begins.
func (j *journal) base() int {
	return int(j.turn%2) * j.half
}

// turnOver continues in the other half, or in a file with larger ones, which
// holds what is open and has room for more.
func (j *journal) turnOver(open map[string]*opened, room int) error {
	entries := []byte{}
	for id, o := range open {
		if o.rec != nil {
			entries = appendBegin(entries, o.rec)
			entries = appendCheckpoint(entries, o.checkpoint(id))
		}
	}
	if most := 2 * (halfHeader + 2*frameHeader + len(entries) + room); most > j.half {
		return j.grow(most, entries)
	}
	old := *j
	j.turn, j.at = j.turn+1, halfHeader
	if err := j.start(entries); err != nil {
		*j = old
		return err
	}
	return nil
}

// start makes the current half count, once it holds these entries.
func (j *journal) start(entries []byte) error {
	if len(entries) > 0 {
		if err := j.frame(entries); err != nil {
			return err
		}
	}
	return j.memory.store(j.base(), binary.LittleEndian.AppendUint64(nil, j.turn))
}

func (j *journal) grow(half int, entries []byte) error {
	next := &journal{database: j.database, half: half}
	if err := next.open(); err != nil {
		return err
	}
	next.turn, next.at = 1, halfHeader
	if err := next.start(entries); err != nil {
		return errors.Join(err, next.close(false))
	}
	err := j.close(false)
	*j = *next
	return err
}

// close gives the journal up: to whoever recovers what is open, or for good.
func (j *journal) close(open bool) error {
	if j == nil || j.lock == nil {
		return nil
	}
	lock := j.lock
	j.lock = nil
	err := j.memory.close()
	if open {
		return errors.Join(err, lock.Unlock())
	}
	return errors.Join(err, os.Remove(j.name), discard(lock))
}

func checksum(turn uint64, entries []byte) uint32 {
	return crc32.Update(uint32(turn), crc32.MakeTable(crc32.Castagnoli), entries)
}

// replay gives what is open in a journal. It ends at the first frame that is not
// whole: nobody was told of that one.
func replay(file []byte) []*models.UsageRecord {
	half := len(file) / 2
	if half < halfHeader {
		return nil
	}
	current, turn := file[:half], binary.LittleEndian.Uint64(file)
	if other := binary.LittleEndian.Uint64(file[half:]); other > turn {
		current, turn = file[half:], other
	}
	begun := newBegun()
	for b := current[halfHeader:]; turn > 0 && len(b) >= frameHeader; {
		n, sum := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
		b = b[frameHeader:]
		if n == 0 || uint64(n) > uint64(len(b)) || checksum(turn, b[:n]) != sum {
			break
		}
		begun.read(b[:n])
		b = b[n:]
	}
	return begun.list()
}

// orphan is the journal of a process that has ended. Its lock is held.
type orphan struct {
	name string
	lock *flock.Flock
	open []*models.UsageRecord // as they began, with their last checkpoint
}

// orphans finds the journals beside the database whose processes have ended.
func orphans(database string) ([]*orphan, error) {
	dir, base := filepath.Split(database)
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("find journals: %w", err)
	}
	var list []*orphan
	for _, f := range files {
		if !strings.HasPrefix(f.Name(), base+journalMark) || strings.HasSuffix(f.Name(), lockSuffix) {
			continue
		}
		o, err := adopt(filepath.Join(dir, f.Name()))
		if err != nil {
			return list, err
		}
		if o != nil {
			list = append(list, o)
		}
	}
	return list, nil
}

// adopt takes a journal over; nil when its process lives, or another has it.
func adopt(name string) (*orphan, error) {
	lock := flock.New(name+lockSuffix, flock.SetPermissions(0o600))
	if ok, err := lock.TryLock(); err != nil || !ok {
		return nil, wrap("lock a journal", errors.Join(err, lock.Close()))
	}
	file, err := os.ReadFile(name) //nolint:gosec // beside the database that the operator names
	if errors.Is(err, fs.ErrNotExist) {
		return nil, discard(lock) // somebody was faster
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read a journal: %w", err), lock.Unlock())
	}
	return &orphan{name: name, lock: lock, open: replay(file)}, nil
}

// bury removes the journal, when what was open in it is in the database.
func (o *orphan) bury() error { return errors.Join(os.Remove(o.name), discard(o.lock)) }

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
