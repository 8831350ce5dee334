package http1

import (
	"bufio"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// sweepEvery is how often idle connections are looked at: those that the other
// side has closed hold a descriptor here until then.
const sweepEvery = time.Second

var errHead = errors.New("the head of the answer is too long")

// conn is a connection to an upstream. It is for one goroutine at a time.
type conn struct {
	net.Conn
	pool   *pool
	addr   string
	limit  int64 // of an answer's head
	abort  func()
	raw    syscall.RawConn // nil: cannot be looked at
	peek   func(fd uintptr) bool
	open   bool          // what peek found out
	r      *bufio.Reader // nil while idle
	left   int64         // of the head that may still be read; below zero: any number
	reused bool
	since  time.Time // when it became idle
}

// Read is for the buffer in front of it.
func (c *conn) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, errHead
	}
	if c.left > 0 && int64(len(p)) > c.left {
		p = p[:c.left]
	}
	n, err := c.Conn.Read(p)
	if c.left > 0 {
		c.left -= int64(n)
	}
	return n, err //nolint:wrapcheck // a reader's errors are compared
}

// Close closes the connection and gives back its buffer.
func (c *conn) Close() error {
	c.drop()
	return c.Conn.Close() //nolint:wrapcheck // nobody reads it
}

func (c *conn) drop() {
	if c.r != nil {
		c.r.Reset(nil)
		c.pool.readers.Put(c.r)
		c.r = nil
	}
}

// alive says whether an idle connection is still of use: the other side has
// neither closed it nor sent what nobody asked for.
func (c *conn) alive() bool {
	if c.raw == nil {
		return true
	}
	c.open = false
	return c.raw.Read(c.peek) == nil && c.open
}

// pool keeps idle connections, those used last on top. Its zero value with the
// first two fields is ready.
type pool struct {
	most     int           // idle connections of one address
	patience time.Duration // how long they may be idle; 0: for ever
	readers  sync.Pool     // of *bufio.Reader

	mu     sync.Mutex
	idle   map[string][]*conn
	count  int
	sweeps bool // the sweeper is on its way
	closed bool
}

func (p *pool) reader(from io.Reader) *bufio.Reader {
	if r, ok := p.readers.Get().(*bufio.Reader); ok {
		r.Reset(from)
		return r
	}
	return bufio.NewReaderSize(from, readBuffer)
}

// adopt makes a connection of the pool.
func (p *pool) adopt(from net.Conn, addr string, limit int64) *conn {
	c := &conn{Conn: from, pool: p, addr: addr, limit: limit}
	// A deadline in the past ends what waits; it fails only for what is closed.
	c.abort = func() { _ = from.SetDeadline(time.Unix(1, 0)) }
	c.peek = c.look
	if sc, ok := from.(syscall.Conn); ok && canPeek {
		c.raw, _ = sc.SyscallConn()
	}
	return c
}

// take gives an idle connection to the address, nil when there is none.
func (p *pool) take(addr string) *conn {
	for {
		c := p.pop(addr)
		if c == nil || c.alive() {
			return c
		}
		_ = c.Close()
	}
}

func (p *pool) pop(addr string) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.idle[addr]
	if len(list) == 0 {
		return nil
	}
	c := list[len(list)-1]
	list[len(list)-1] = nil
	p.idle[addr] = list[:len(list)-1]
	p.count--
	return c
}

// put takes back a connection whose answer was read to its end.
func (p *pool) put(c *conn) {
	c.drop()
	c.reused, c.since = true, time.Now()
	p.mu.Lock()
	if p.closed || len(p.idle[c.addr]) >= p.most {
		p.mu.Unlock()
		_ = c.Close()
		return
	}
	if p.idle == nil {
		p.idle = map[string][]*conn{}
	}
	p.idle[c.addr] = append(p.idle[c.addr], c)
	p.count++
	if !p.sweeps {
		p.sweeps = true
		time.AfterFunc(sweepEvery, p.sweep)
	}
	p.mu.Unlock()
}

// sweep closes what is idle for too long, or was closed by the other side, and
// comes back as long as something is idle.
func (p *pool) sweep() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for addr, list := range p.idle {
		kept := list[:0]
		for _, c := range list {
			if p.patience > 0 && now.Sub(c.since) > p.patience || !c.alive() {
				_ = c.Close()
				p.count--
				continue
			}
			kept = append(kept, c)
		}
		clear(list[len(kept):])
		if p.idle[addr] = kept; len(kept) == 0 {
			delete(p.idle, addr)
		}
	}
	if p.sweeps = p.count > 0; p.sweeps {
		time.AfterFunc(sweepEvery, p.sweep)
	}
}

// close closes what is idle, and lets nothing become idle any more.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, list := range p.idle {
		for _, c := range list {
			_ = c.Close()
		}
	}
	p.idle, p.count = nil, 0
}
