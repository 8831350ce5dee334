//go:build !unix

package usage

import "os"

// region is a file.
type region struct{ file *os.File }

func newRegion(name string, size int) (*region, error) {
	f, err := zeroed(name, size)
	return &region{f}, err
}

func (r *region) store(at int, b []byte) error {
	_, err := r.file.WriteAt(b, int64(at))
	return err
}

func (r *region) close() error { return r.file.Close() }
