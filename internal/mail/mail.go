// Package mail sends e-mails to people: through an SMTP server, or into files
// for an operator who has none yet.
package mail

import (
	"context"
	"fmt"

	gomail "github.com/wneessen/go-mail"
)

// Message is a plain text for one person.
type Message struct {
	To      string // a plain address
	Subject string
	Text    string
}

// Sender sends messages. It is safe for concurrent use.
type Sender interface {
	// Send returns when somebody else is answerable for the message. Its error
	// holds neither the text nor a password.
	Send(ctx context.Context, m Message) error
}

// compose makes the e-mail.
func (m Message) compose(from string) (*gomail.Msg, error) {
	msg := gomail.NewMsg()
	if err := msg.From(from); err != nil {
		return nil, fmt.Errorf("the sender's address: %w", err)
	}
	if err := msg.To(m.To); err != nil {
		return nil, fmt.Errorf("the recipient's address: %w", err)
	}
	msg.Subject(m.Subject)
	msg.SetDate()
	msg.SetMessageID()
	msg.SetGenHeader("Auto-Submitted", "auto-generated") // no answers from absent people
	msg.SetBodyString(gomail.TypeTextPlain, m.Text)
	return msg, nil
}
