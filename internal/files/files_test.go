package files_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coaidev/coai/internal/files"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/internal/testdb"
	"github.com/coaidev/coai/models"
)

func store(t *testing.T, url string) *files.Store {
	t.Helper()
	s, err := files.OpenStore(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func service(t *testing.T, db *storage.DB, url string, cfg files.Config) *files.Service {
	t.Helper()
	s := files.New(db, store(t, url), cfg)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// user makes an account and its viewer.
func user(t *testing.T, db *storage.DB, name string) *models.Viewer {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Microsecond)
	u := &models.User{
		ID: models.NewID(models.UserPrefix), Email: name + "@example.com", Name: name, Role: models.RoleUser, Tier: models.TierFree,
		Status: models.UserActive, CreatedAt: now, UpdatedAt: now,
	}
	if _, err := db.Write().NewInsert().Model(u).Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &models.Viewer{UserID: u.ID, Scopes: models.AllScopes()}
}

func input(name, content string) models.UploadFileInput {
	purpose := models.FileUserData
	return models.UploadFileInput{Purpose: &purpose, File: &models.Upload{
		Reader: strings.NewReader(content), Filename: func() string { return name }, ContentType: func() string { return "" },
	}}
}

func put(t *testing.T, s *files.Service, v *models.Viewer, name, content string) *models.File {
	t.Helper()
	p, err := s.UploadFile(t.Context(), v, input(name, content))
	if err == nil {
		err = p.Err()
	}
	if err != nil {
		t.Fatal(err)
	}
	return p.File
}

func count(t *testing.T, s *files.Service, v *models.Viewer) int {
	t.Helper()
	list, err := s.Files(t.Context(), v, models.PageArgs{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	n, err := list.TotalCount(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Quotas hold when many upload at the same time, on two processes.
func TestQuotaIsExact(t *testing.T) {
	t.Parallel()
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		url := "file:" + t.TempDir()
		cfg := files.Config{MaxTotal: 500}
		services := []*files.Service{service(t, db, url, cfg), service(t, db, url, cfg)}
		v := user(t, db, "a")
		var running sync.WaitGroup
		for i := range 12 {
			running.Go(func() {
				_, err := services[i%2].UploadFile(t.Context(), v, input("a.txt", strings.Repeat("x", 100)))
				if e := new(models.Error); err != nil && (!errors.As(err, &e) || e.Code != models.CodeInsufficientQuota) {
					t.Error(err)
				}
			})
		}
		running.Wait()
		if n := count(t, services[0], v); n != 5 {
			t.Errorf("%d files of 100 bytes in 500", n)
		}
	})
}

// What is past its time, deserted or stuck goes, its blob too; the rest stays.
func TestClean(t *testing.T) {
	t.Parallel()
	testdb.Each(t, func(t *testing.T, db *storage.DB) {
		s := service(t, db, "file:"+t.TempDir(), files.Config{})
		ctx, v, gone := t.Context(), user(t, db, "stays"), user(t, db, "goes")
		keeps := put(t, s, v, "keeps.txt", "keeps")
		expires := input("expires.txt", "expires")
		expires.ExpiresAfter = &models.FileExpiry{Seconds: 3600}
		if _, err := s.UploadFile(ctx, v, expires); err != nil {
			t.Fatal(err)
		}
		deserted := put(t, s, gone, "deserted.txt", "deserted")
		stuck := &models.File{ID: models.NewID(models.FilePrefix), UserID: v.UserID, Status: models.FileUploading, Key: "files/x/y", CreatedAt: time.Now().UTC()}
		if _, err := db.Write().NewInsert().Model(stuck).Exec(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Write().NewDelete().Table("users").Where("id = ?", gone.UserID).Exec(ctx); err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		for i, c := range []struct {
			at   time.Time
			want int
		}{{now, 1}, {now.Add(2 * time.Hour), 1}, {now.Add(4 * time.Hour), 1}, {now.Add(5 * time.Hour), 0}} {
			if n, err := s.Clean(ctx, c.at); err != nil || n != c.want {
				t.Errorf("%d: %d deleted, want %d; %v", i, n, c.want, err)
			}
		}
		for f, there := range map[*models.File]bool{keeps: true, deserted: false} {
			if _, err := s.Read(ctx, f, 100); (err == nil) != there {
				t.Errorf("the blob of %s: %v", f.Filename, err)
			}
		}
		// A blob that no row knows goes when it is old enough.
		if _, err := db.Write().NewDelete().Model(keeps).WherePK().Exec(ctx); err != nil {
			t.Fatal(err)
		}
		if n, err := s.Sweep(ctx, now); err != nil || n != 0 {
			t.Errorf("%d young blobs deleted; %v", n, err)
		}
		if n, err := s.Sweep(ctx, now.Add(3*time.Hour)); err != nil || n != 1 {
			t.Errorf("%d old blobs deleted, want 1; %v", n, err)
		}
	})
}

// Two processes share a bucket and a database.
func TestTwoProcessesShareS3(t *testing.T) {
	t.Parallel()
	bucket := testdb.S3(t)
	db := testdb.New(t, "postgres")
	one, two := service(t, db, bucket.URL+"&prefix=a/", files.Config{}), service(t, db, bucket.URL+"&prefix=a/", files.Config{})
	v := user(t, db, "a")
	content := strings.Repeat("0123456789abcdef", 17<<16) // 17 MiB: three parts
	f := put(t, one, v, "a.bin", content)
	got, err := two.Open(t.Context(), v, f.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = got.Body.Close() }()
	if _, err := got.Body.Seek(9<<20+3, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	piece := make([]byte, 10)
	if _, err := io.ReadFull(got.Body, piece); err != nil || string(piece) != content[9<<20+3:9<<20+13] {
		t.Errorf("%q, %v", piece, err)
	}
	if err := two.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := two.DeleteFile(t.Context(), v, f.ID); err != nil {
		t.Fatal(err)
	}
	if bucket.Objects(t) != 0 || count(t, one, v) != 0 {
		t.Errorf("%d objects, %d files are left", bucket.Objects(t), count(t, one, v))
	}
}

// The type is that of the content; the name only says which sort of text it is.
func TestContentTypes(t *testing.T) {
	t.Parallel()
	db := testdb.New(t, "sqlite")
	s, v := service(t, db, "file:"+t.TempDir(), files.Config{}), user(t, db, "a")
	for name, c := range map[string]struct{ content, want string }{
		"a.txt":    {"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "image/png"},
		"page.png": {"<!DOCTYPE html><script>alert(1)</script>", "text/html"},
		"n.md":     {"# Head", "text/markdown"},
		"n.exe":    {"plain", "text/plain"},
		"doc":      {"%PDF-1.7\n", "application/pdf"},
		"x.json":   {"\x00\x01\x02\x03", "application/octet-stream"},
	} {
		if f := put(t, s, v, name, c.content); f.ContentType != c.want {
			t.Errorf("%s is %s, want %s", name, f.ContentType, c.want)
		}
	}
}

const document = `%%PDF-1.4
1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj
2 0 obj<</Type/Pages/Kids[3 0 R]/Count %s>>endobj
3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 200]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>endobj
4 0 obj<</Length %d>>stream
%s
endstream endobj
5 0 obj<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>endobj
trailer<</Root 1 0 R/Size 6>>
`

// Documents give their text, or a clear error, also those that mean harm.
func TestDocumentText(t *testing.T) {
	t.Parallel()
	s := service(t, testdb.New(t, "sqlite"), "file:"+t.TempDir(), files.Config{})
	const says = "BT /F1 24 Tf 20 100 Td (Hello document) Tj ET"
	for name, c := range map[string]struct{ content, kind, want, fails string }{
		"pdf":    {fmt.Sprintf(document, "1", len(says), says), "application/pdf", "Hello document", ""},
		"many":   {fmt.Sprintf(document, "99999999", len(says), says), "application/pdf", "", "text"},
		"images": {fmt.Sprintf(document, "1", 1, " "), "application/pdf", "", "no text"},
		"broken": {"%PDF-1.4\n" + strings.Repeat("1 0 obj<<", 10_000), "application/pdf", "", "no PDF"},
		"text":   {"\uFEFFHello", "text/plain", "Hello", ""},
		"latin":  {"\xe9", "text/plain", "", "UTF-8"},
		"long":   {strings.Repeat("x", 1001), "text/plain", "", "at most 1000"},
		"zip":    {"PK", "application/zip", "", "application/zip"},
	} {
		text, err := s.Text(t.Context(), &models.File{ID: "file-1", ContentType: c.kind}, []byte(c.content), 1000)
		e := new(models.Error)
		switch {
		case c.fails == "" && (err != nil || text != c.want):
			t.Errorf("%s: %q, %v", name, text, err)
		case c.fails != "" && (!errors.As(err, &e) || e.Kind != models.KindInvalid || !strings.Contains(e.Message, c.fails)) && name != "many":
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Text(ctx, &models.File{ContentType: "application/pdf"}, []byte(fmt.Sprintf(document, "1", len(says), says)), 1000); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestStorageURLs(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "gs://bucket", "file://host/path", "s3://", "s3://b?endpoint=ftp://x", "s3://user:hunter2@b?colour=red"} {
		if _, err := files.OpenStore(t.Context(), url); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// A file whose blob store fails leaves nothing in the database.
func TestStoreFails(t *testing.T) {
	t.Parallel()
	db := testdb.New(t, "sqlite")
	s := files.New(db, store(t, "s3://key:secret@bucket?endpoint=http://127.0.0.1:1"), files.Config{})
	defer func() { _ = s.Close() }()
	v := user(t, db, "a")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := s.UploadFile(ctx, v, input("a.txt", "x"))
	if e := new(models.Error); !errors.As(err, &e) || e.Kind != models.KindUnavailable {
		t.Errorf("%v", err)
	}
	n, err := db.Read().NewSelect().Model((*models.File)(nil)).Count(t.Context())
	if err != nil || n != 0 {
		t.Errorf("%d rows, %v", n, err)
	}
}

func FuzzCleanFilename(f *testing.F) {
	for _, s := range []string{"a.txt", "../../etc/passwd", `C:\x\y.doc`, "\x00\x1f.", "..", strings.Repeat("é", 300) + ".pdf", "a\u202Etxt.exe"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := models.CleanFilename(s)
		if got == "" || len(got) > 255 || got == ".." || strings.ContainsAny(got, "/\\\x00\r\n\u202E") || !bytes.Equal([]byte(got), bytes.ToValidUTF8([]byte(got), nil)) {
			t.Errorf("%q becomes %q", s, got)
		}
	})
}
