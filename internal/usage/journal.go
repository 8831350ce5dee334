package usage

import (
	"errors"
	"fmt"
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
	// journalMost is the size in bytes at which what has ended is cut out.
	journalMost = 4 << 20
)

// journal is what one process has begun on SQLite: a file beside the database to
// which each begin is appended before the upstream hears of it. What is written
// outlives this process, however that ends, and costs a thousandth of a commit; it
// is not forced to the disk, so that begins of the last seconds are lost when the
// machine loses its power. The lock goes with the process, and tells others that
// nobody will end what is open.
//
// It is guarded by the ledger's mutex.
type journal struct {
	path string // of the database
	lock *flock.Flock
	file *os.File // nil until the first begin
	name string
	size int64
	most int64 // the size at which it is rewritten
	buf  []byte
}

func newJournal(db *storage.DB) *journal {
	if db.Dialect() != storage.SQLite {
		return nil
	}
	return &journal{path: db.Path(), most: journalMost}
}

// open makes the file, under a name of its own, and takes its lock first.
func (j *journal) open() (err error) {
	if j.file != nil {
		return nil
	}
	name := j.path + models.NewID(journalMark)
	lock := flock.New(name+lockSuffix, flock.SetPermissions(0o600))
	if ok, err := lock.TryLock(); err != nil || !ok {
		return fmt.Errorf("lock the journal: %w", errors.Join(err, errors.New("nobody else has its name")))
	}
	j.file, err = create(name)
	if err != nil {
		return errors.Join(fmt.Errorf("make the journal: %w", err), discard(lock))
	}
	j.name, j.lock, j.size = name, lock, 0
	return nil
}

func create(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600) //nolint:gosec // beside the database that the operator names
}

// discard removes a lock that is held.
func discard(lock *flock.Flock) error {
	return errors.Join(os.Remove(lock.Path()), lock.Unlock())
}

// write appends entries. What fails leaves nothing behind: the next one is
// written over it.
func (j *journal) write(entries []byte) error {
	if err := j.open(); err != nil {
		return err
	}
	if _, err := j.file.WriteAt(entries, j.size); err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	j.size += int64(len(entries))
	return nil
}

func (j *journal) begin(r *models.UsageRecord) error {
	j.buf = appendBegin(j.buf[:0], r)
	return j.write(j.buf)
}

// rewrite puts a file in its place that holds nothing but what is open. If it
// fails, the old one stays.
func (j *journal) rewrite(open map[string]*opened) error {
	j.most = 2 * j.size
	entries := j.buf[:0]
	for _, o := range open {
		if o.rec != nil {
			entries = appendBegin(entries, o.rec)
			entries = appendCheckpoint(entries, o.checkpoint(o.rec.ID))
		}
	}
	j.buf = entries
	file, err := create(j.name + "~")
	if err != nil {
		return fmt.Errorf("make a new journal: %w", err)
	}
	_, err = file.Write(entries)
	if err == nil {
		err = os.Rename(file.Name(), j.name)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write a new journal: %w", err), file.Close(), os.Remove(file.Name()))
	}
	_ = j.file.Close() // it has no name any more
	j.file, j.size = file, int64(len(entries))
	j.most = max(journalMost, 4*j.size)
	return nil
}

// close gives the journal up: to whoever recovers what is open, or for good.
func (j *journal) close(open bool) error {
	if j == nil || j.file == nil {
		return nil
	}
	err := j.file.Close()
	j.file = nil
	if open {
		return errors.Join(err, j.lock.Unlock())
	}
	return errors.Join(err, os.Remove(j.name), discard(j.lock))
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
		if !strings.HasPrefix(f.Name(), base+journalMark) || strings.HasSuffix(f.Name(), lockSuffix) || strings.HasSuffix(f.Name(), "~") {
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
		return nil, wrap("lock a journal", err)
	}
	entries, err := os.ReadFile(name) //nolint:gosec // beside the database that the operator names
	if errors.Is(err, fs.ErrNotExist) {
		return nil, discard(lock) // somebody was faster
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read a journal: %w", err), lock.Unlock())
	}
	return &orphan{name: name, lock: lock, open: replay(entries)}, nil
}

// bury removes the journal, when what was open in it is in the database.
func (o *orphan) bury() error {
	err := os.Remove(o.name)
	if rest := os.Remove(o.name + "~"); !errors.Is(rest, fs.ErrNotExist) {
		err = errors.Join(err, rest) // left by a rewrite that was killed
	}
	return errors.Join(err, discard(o.lock))
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}
