package testdb

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
)

// Bucket is an empty bucket of a real S3-compatible server that no other test uses.
type Bucket struct {
	URL string // for COAI_STORAGE_URL
	dir string // where the server keeps it
}

const (
	s3Key    = "coaitestcoaitest"
	s3Secret = "secret-of-the-tests-of-coai"
)

// S3 gives a bucket on versitygw, which checks signatures and parts as Amazon
// does. The program is found by COAI_TEST_VERSITYGW, else on the path; `.ci/run`
// builds the one that .ci/services.mod pins.
func S3(t testing.TB) *Bucket {
	t.Helper()
	server, err := s3Once()
	if err != nil {
		unavailable(t, "s3", err)
	}
	name := fmt.Sprintf("bucket-%d", server.next.Add(1))
	dir := filepath.Join(server.dir, "data", name)
	if err := os.Mkdir(dir, 0o700); err != nil { // the server's buckets are folders
		t.Fatal(err)
	}
	q := url.Values{"endpoint": {"http://" + server.addr}}
	u := url.URL{Scheme: "s3", User: url.UserPassword(s3Key, s3Secret), Host: name, RawQuery: q.Encode()}
	return &Bucket{URL: u.String(), dir: dir}
}

// Objects is how many objects the bucket has, parts of unfinished uploads included.
func (b *Bucket) Objects(t testing.TB) int {
	t.Helper()
	n := 0
	err := filepath.WalkDir(b.dir, func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		if errors.Is(err, os.ErrNotExist) { // deleted just now
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

var s3Once = sync.OnceValues(startS3) //nolint:gochecknoglobals // starting one takes a while

type s3Server struct {
	addr, dir string
	child     *child // kept, because the server ends when nobody holds it
	next      atomic.Int64
}

func startS3() (*s3Server, error) {
	program := os.Getenv("COAI_TEST_VERSITYGW")
	if program == "" {
		var err error
		if program, err = exec.LookPath("versitygw"); err != nil {
			return nil, fmt.Errorf("looked for COAI_TEST_VERSITYGW (not set) and versitygw on the path (%w)", err)
		}
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "coaitest-s3-")
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"data", "meta"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			return nil, err
		}
	}
	addr := net.JoinHostPort("127.0.0.1", port)
	c, err := startChild(dir, nil, program, "--port", addr, "--access", s3Key, "--secret", s3Secret, "--quiet",
		"posix", "--sidecar", filepath.Join(dir, "meta"), filepath.Join(dir, "data"))
	if err != nil {
		return nil, err
	}
	s := &s3Server{addr: addr, dir: dir, child: c}
	return s, c.ready(s.answers)
}

// answers asks without a key, and wants to be refused as S3 refuses.
func (s *s3Server) answers() error {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+s.addr+"/", nil)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	var refusal struct{ Code string }
	return xml.Unmarshal(b, &refusal)
}
