//go:build unix

package http1

import (
	"errors"
	"syscall"
)

const canPeek = true

// look reads a byte without waiting: on an idle connection there is none to read
// until the other side closes it.
func (c *conn) look(fd uintptr) bool {
	var b [1]byte
	n, err := syscall.Read(int(fd), b[:])
	c.open = n < 0 && (errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EWOULDBLOCK))
	return true
}
