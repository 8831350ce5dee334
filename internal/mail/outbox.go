package mail

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/rs/zerolog"

	"github.com/coaidev/coai/models"
)

// Outbox writes messages into files of a directory that only the operator can
// read, and says so in the log: the log itself shows no text, which may hold a
// token.
type Outbox struct {
	dir, from string
	log       zerolog.Logger
}

// NewOutbox writes into dir, which is made when the first message comes.
func NewOutbox(dir, from string, log zerolog.Logger) *Outbox {
	return &Outbox{dir: dir, from: from, log: log}
}

// Send writes the message.
func (o *Outbox) Send(_ context.Context, m Message) error {
	msg, err := m.compose(o.from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return fmt.Errorf("make the outbox: %w", err)
	}
	name := filepath.Join(o.dir, models.NewID("")+".eml")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // a name of ours in a directory that the operator names
	if err != nil {
		return fmt.Errorf("make a file in the outbox: %w", err)
	}
	if _, err = msg.WriteTo(f); err != nil {
		_ = f.Close()
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	o.log.Info().Str("subject", m.Subject).Str("file", name).Msg("no mail server is set up: an e-mail was written to a file")
	return nil
}
