package coaitest

import (
	"io"
	"mime/quotedprintable"
	"net/http"
	"net/http/cookiejar"
	netmail "net/mail"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Browser gives the product as a browser sees it: one that keeps cookies, and
// shows redirects instead of following them.
func (p *Product) Browser() *Product {
	p.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		p.t.Fatal(err)
	}
	b := *p
	b.Client = &http.Client{
		Jar: jar, Transport: p.Client.Transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return &b
}

// Letter is an e-mail that the product has written into its outbox.
type Letter struct{ To, Subject, Text string }

// Token is the secret in the letter.
func (l Letter) Token() string {
	m := regexp.MustCompile(`#(?:token|invitation)=([\w-]+)`).FindStringSubmatch(l.Text)
	if m == nil {
		return ""
	}
	return m[1]
}

// Letters are the e-mails to an address, the oldest first.
func (p *Product) Letters(to string) []Letter {
	p.t.Helper()
	files, err := filepath.Glob(filepath.Join(p.cfg.DataDir, "outbox", "*.eml"))
	if err != nil {
		p.t.Fatal(err)
	}
	var list []Letter
	for _, name := range files { // the names sort by time
		text, err := os.ReadFile(name)
		if err != nil {
			p.t.Fatal(err)
		}
		m, err := netmail.ReadMessage(strings.NewReader(string(text)))
		if err != nil {
			continue // it is being written
		}
		body, err := io.ReadAll(quotedprintable.NewReader(m.Body))
		if err != nil || len(body) == 0 {
			continue
		}
		if addr := m.Header.Get("To"); strings.Contains(addr, "<"+to+">") {
			list = append(list, Letter{To: to, Subject: m.Header.Get("Subject"), Text: string(body)})
		}
	}
	return list
}

// Letter waits for the n-th e-mail to an address, and gives it.
func (p *Product) Letter(to string, n int) Letter {
	p.t.Helper()
	var list []Letter
	Eventually(p.t, "an e-mail to "+to, func() bool {
		list = p.Letters(to)
		return len(list) >= n
	})
	return list[n-1]
}
