package rest

import (
	"net/http"
	"time"
)

// download is an answer that is written as it is made: its head goes out with the
// first byte. A client that takes nothing for half a minute is cut off.
type download struct {
	w           http.ResponseWriter
	contentType string
	name        string // of the file
	began       bool
	deadline    time.Time
}

// Write implements [io.Writer].
func (d *download) Write(b []byte) (int, error) {
	if !d.began {
		d.began = true
		h := d.w.Header()
		h.Set("Content-Type", d.contentType)
		h.Set("Content-Disposition", `attachment; filename="`+d.name+`"`)
		h.Set("Cache-Control", "private, no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		d.w.WriteHeader(http.StatusOK)
	}
	if at := time.Now(); d.deadline.Sub(at) < writeTimeout {
		d.deadline = at.Add(writeTimeout + time.Second)
		_ = http.NewResponseController(d.w).SetWriteDeadline(d.deadline) // a writer without deadlines is one in a test
	}
	return d.w.Write(b) //nolint:wrapcheck // the connection's own
}
