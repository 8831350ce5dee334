//go:build unix

package usage

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// region is a file that is mapped into memory.
type region struct{ memory []byte }

func newRegion(name string, size int) (*region, error) {
	f, err := zeroed(name, size)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // the mapping stays
	memory, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("map: %w", err), os.Remove(name))
	}
	return &region{memory}, nil
}

// store puts bytes at a place. A disk that fails shows as a fault of memory.
func (r *region) store(at int, b []byte) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if fault := recover(); fault != nil {
			err = fmt.Errorf("store: %v", fault)
		}
	}()
	copy(r.memory[at:at+len(b)], b)
	return nil
}

func (r *region) close() error { return unix.Munmap(r.memory) }
