package mail_test

import (
	"bytes"
	"io"
	"net"
	netmail "net/mail"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/rs/zerolog"

	"github.com/coaidev/coai/internal/mail"
)

// postOffice is a mail server that keeps what it is given.
type postOffice struct {
	mu       sync.Mutex
	received []letter
}

type letter struct{ from, to, text, user string }

func (p *postOffice) NewSession(*smtp.Conn) (smtp.Session, error) { return &visit{office: p}, nil }

type visit struct {
	office *postOffice
	now    letter
}

func (v *visit) AuthMechanisms() []string { return []string{sasl.Plain} }

func (v *visit) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if password != "secret-password" {
			return smtp.ErrAuthFailed
		}
		v.now.user = user
		return nil
	}), nil
}
func (v *visit) Reset()        { v.now.from, v.now.to = "", "" }
func (v *visit) Logout() error { return nil }
func (v *visit) Mail(from string, _ *smtp.MailOptions) error {
	v.now.from = from
	return nil
}

func (v *visit) Rcpt(to string, _ *smtp.RcptOptions) error {
	v.now.to = to
	return nil
}

func (v *visit) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	v.now.text = string(text)
	v.office.mu.Lock()
	defer v.office.mu.Unlock()
	v.office.received = append(v.office.received, v.now)
	return err
}

func (p *postOffice) open(t *testing.T) (addr string) {
	t.Helper()
	srv := smtp.NewServer(p)
	srv.Domain, srv.AllowInsecureAuth = "localhost", true
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a test's
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	return l.Addr().String()
}

func TestSMTPDelivers(t *testing.T) {
	t.Parallel()
	office := new(postOffice)
	addr := office.open(t)
	for _, credential := range []string{"", "ada:secret-password@"} {
		s, err := mail.NewSMTP("smtp://"+credential+addr+"?tls=off", "CoAI <coai@example.com>")
		if err != nil {
			t.Fatal(err)
		}
		err = s.Send(t.Context(), mail.Message{To: "bob@example.com", Subject: "Grüße", Text: "The token:\n\nabc=123\n"})
		if err != nil {
			t.Fatalf("with %q: %v", credential, err)
		}
	}
	if len(office.received) != 2 {
		t.Fatalf("received %d e-mails", len(office.received))
	}
	got := office.received[1]
	if got.from != "coai@example.com" || got.to != "bob@example.com" || got.user != "ada" || office.received[0].user != "" {
		t.Errorf("received %+v", got)
	}
	m, err := netmail.ReadMessage(strings.NewReader(got.text))
	if err != nil {
		t.Fatal(err)
	}
	if m.Header.Get("Auto-Submitted") != "auto-generated" || m.Header.Get("Message-Id") == "" || !strings.Contains(m.Header.Get("Subject"), "=?UTF-8?") {
		t.Errorf("headers %v", m.Header)
	}
}

func TestSMTPFails(t *testing.T) {
	t.Parallel()
	office := new(postOffice)
	addr := office.open(t)
	for name, url := range map[string]string{
		"a wrong password":              "smtp://ada:wrong-password@" + addr + "?tls=off",
		"no TLS where it is required":   "smtp://ada:secret-password@" + addr,
		"no TLS from the beginning":     "smtps://ada:secret-password@" + addr,
		"nobody listens":                "smtp://ada:secret-password@127.0.0.1:1?tls=off",
		"a name that cannot be a host.": "smtp://ada:secret-password@[::1%25none]:1?tls=off",
	} {
		s, err := mail.NewSMTP(url, "coai@example.com")
		if err == nil {
			err = s.Send(t.Context(), mail.Message{To: "bob@example.com", Text: "the-token"})
		}
		if err == nil || strings.Contains(err.Error(), "password@") || strings.Contains(err.Error(), "-password") || strings.Contains(err.Error(), "the-token") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(office.received) != 0 {
		t.Errorf("received %+v", office.received)
	}
}

func TestNewSMTPRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ url, from string }{
		{"", "a@b.c"},
		{"http://host", "a@b.c"},
		{"smtp://", "a@b.c"},
		{"smtp://host/path", "a@b.c"},
		{"smtp://host:0", "a@b.c"},
		{"smtp://host?tls=maybe", "a@b.c"},
		{"smtp://u:pass%zz@host", "a@b.c"},
		{"smtp://host", "nobody"},
		{"smtp://host", "a@b.c\r\nBcc: d@e.f"},
	} {
		if _, err := mail.NewSMTP(c.url, c.from); err == nil || strings.Contains(err.Error(), "pass%") {
			t.Errorf("%s from %q: %v", c.url, c.from, err)
		}
	}
}

func TestOutboxKeepsFilesForTheOperator(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "outbox")
	var logged bytes.Buffer
	o := mail.NewOutbox(dir, "CoAI <coai@localhost>", zerolog.New(&logged))
	for range 2 {
		if err := o.Send(t.Context(), mail.Message{To: "bob@example.com", Subject: "Verify", Text: "the-token"}); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.eml"))
	if err != nil || len(files) != 2 {
		t.Fatalf("files %v, %v", files, err)
	}
	info, err := os.Stat(files[0])
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil || !bytes.Contains(text, []byte("the-token")) || !bytes.Contains(text, []byte("<bob@example.com>")) {
		t.Errorf("%s, %v", text, err)
	}
	if s := logged.String(); !strings.Contains(s, files[0]) || strings.Contains(s, "the-token") {
		t.Errorf("logged %s", s)
	}
	if err := o.Send(t.Context(), mail.Message{To: "bob@example.com\r\nBcc: eve@example.com"}); err == nil {
		t.Error("a recipient that is two was taken")
	}
	blocked := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := mail.NewOutbox(blocked, "a@b.c", zerolog.Nop()).Send(t.Context(), mail.Message{To: "bob@example.com"}); err == nil {
		t.Error("wrote into a file as if it were a directory")
	}
}
