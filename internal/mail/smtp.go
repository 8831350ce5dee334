package mail

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	gomail "github.com/wneessen/go-mail"
)

// smtpTimeout bounds the whole conversation with the server.
const smtpTimeout = 30 * time.Second

// SMTP hands messages to a mail server, over a connection for each.
type SMTP struct {
	from string
	host string
	opts []gomail.Option
}

// NewSMTP reads the server's URL:
//
//   - smtp://user:password@host:587: TLS by STARTTLS, which the server must offer;
//     with ?tls=opportunistic only if it does, with ?tls=off never
//   - smtps://user:password@host:465: TLS from the beginning
//
// Without a user nobody signs in. A password is not sent without TLS, unless to
// this machine. from is the sender, such as "CoAI <coai@example.com>". Errors hold
// no password.
func NewSMTP(serverURL, from string) (*SMTP, error) {
	const allowed = "allowed are smtp://user:password@host:587 and smtps://user:password@host:465"
	u, err := url.Parse(serverURL)
	if err != nil || u.Hostname() == "" || u.Scheme != "smtp" && u.Scheme != "smtps" || u.Path != "" && u.Path != "/" {
		return nil, errors.New("the URL of the mail server is of an unknown form: " + allowed) // err would show a password
	}
	port := map[string]int{"smtp": 587, "smtps": 465}[u.Scheme]
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return nil, errors.New("the port of the mail server is not a number from 1 to 65535")
		}
		port = int(n)
	}
	s := &SMTP{from: from, host: u.Hostname(), opts: []gomail.Option{gomail.WithPort(port), gomail.WithTimeout(smtpTimeout)}}
	switch mode := u.Query().Get("tls"); {
	case u.Scheme == "smtps" && mode == "":
		s.opts = append(s.opts, gomail.WithSSL())
	case mode == "" || mode == "required":
		s.opts = append(s.opts, gomail.WithTLSPolicy(gomail.TLSMandatory))
	case mode == "opportunistic":
		s.opts = append(s.opts, gomail.WithTLSPolicy(gomail.TLSOpportunistic))
	case mode == "off":
		s.opts = append(s.opts, gomail.WithTLSPolicy(gomail.NoTLS))
	default:
		return nil, errors.New("the parameter tls of the mail server's URL must be one of required, opportunistic, off")
	}
	if password, ok := u.User.Password(); ok {
		method := gomail.SMTPAuthAutoDiscover
		if addr, err := netip.ParseAddr(s.host); s.host == "localhost" || err == nil && addr.IsLoopback() {
			method = gomail.SMTPAuthPlainNoEnc
		}
		s.opts = append(s.opts, gomail.WithSMTPAuth(method), gomail.WithUsername(u.User.Username()), gomail.WithPassword(password))
	}
	if _, err := (Message{To: "somebody@example.com"}).compose(from); err != nil {
		return nil, err
	}
	if _, err := gomail.NewClient(s.host, s.opts...); err != nil {
		return nil, fmt.Errorf("set up the mail client: %w", err)
	}
	return s, nil
}

// Send hands the message to the server.
func (s *SMTP) Send(ctx context.Context, m Message) error {
	msg, err := m.compose(s.from)
	if err != nil {
		return err
	}
	client, err := gomail.NewClient(s.host, s.opts...) // it knows one connection at a time
	if err != nil {
		return fmt.Errorf("set up the mail client: %w", err)
	}
	if err := client.DialAndSendWithContext(ctx, msg); err != nil {
		return fmt.Errorf("hand an e-mail to %s: %w", s.host, err)
	}
	return nil
}
