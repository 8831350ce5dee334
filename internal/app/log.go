package app

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"github.com/rs/zerolog/diode"
)

// NewLogger makes the logger that cfg asks for. Writing to it never blocks:
// lines go through a buffer of some thousands, and are counted and dropped when w
// cannot keep up. flush writes what is buffered and ends the logger; it may be
// called twice.
func NewLogger(cfg *Config, w io.Writer, terminal bool) (log zerolog.Logger, flush func()) {
	level, err := zerolog.ParseLevel(cfg.LogLevel)
	if err != nil {
		level = zerolog.InfoLevel // Load admits no other
	}
	w = unclosed{w}
	if cfg.LogFormat == "console" || cfg.LogFormat == "auto" && terminal {
		w = zerolog.ConsoleWriter{Out: w, TimeFormat: time.TimeOnly, NoColor: !terminal}
	}
	buffered := diode.NewWriter(w, 8192, 0, func(missed int) {
		_, _ = fmt.Fprintf(w, `{"level":"warn","missed":%d,"message":"log lines dropped, the log's reader is too slow"}`+"\n", missed)
	})
	flush = sync.OnceFunc(func() { _ = buffered.Close() })
	return zerolog.New(unclosed{buffered}).Level(level).With().Timestamp().Logger(), flush
}

// unclosed hides a writer's Close: flush must not close standard error, and
// nothing but flush may end the buffer.
type unclosed struct{ io.Writer }
