package coaitest_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/coaidev/coai/internal/coaitest"
	"github.com/coaidev/coai/internal/testdb"
	"github.com/coaidev/coai/models"
)

// file is a file as clients see it.
type file struct {
	ID, Object, Filename, Purpose, Status, SHA256 string
	Bytes                                         int64
	ContentType                                   string `json:"content_type"`
	CreatedAt                                     int64  `json:"created_at"`
	ExpiresAt                                     *int64 `json:"expires_at"`
}

// field is a field of a form; a file has a name.
type field struct{ name, value, filename string }

func fileForm(t *testing.T, fields ...field) (contentType string, body []byte) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, f := range fields {
		var part io.Writer
		var err error
		if f.filename != "" {
			part, err = w.CreateFormFile(f.name, f.filename)
		} else {
			part, err = w.CreateFormField(f.name)
		}
		if err == nil {
			_, err = io.WriteString(part, f.value)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return w.FormDataContentType(), b.Bytes()
}

func sendForm(t *testing.T, p *coaitest.Product, key string, fields ...field) *coaitest.Response {
	t.Helper()
	contentType, body := fileForm(t, fields...)
	return p.Do("POST", "/v1/files", key, body, "Content-Type", contentType)
}

func upload(t *testing.T, p *coaitest.Product, key, name, content string) file {
	t.Helper()
	res := sendForm(t, p, key, field{"purpose", "user_data", ""}, field{"file", content, name})
	var f file
	if res.JSON(t, &f); res.Status != http.StatusOK || f.ID == "" {
		t.Fatalf("upload %s: %d %s", name, res.Status, res.Body)
	}
	return f
}

// storage is where a product keeps its files: the folder, or the bucket.
func filesEach(t *testing.T, test func(t *testing.T, p *coaitest.Product, left func() int)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		p := coaitest.Start(t, coaitest.Backends{Name: "embedded"}, "COAI_STORAGE_URL=file://"+dir)
		test(t, p, func() int { return localBlobs(t, dir) })
	})
	t.Run("postgres+redis+s3", func(t *testing.T) {
		t.Parallel()
		bucket := testdb.S3(t)
		p := coaitest.Start(t, coaitest.Backends{DatabaseURL: testdb.Open(t, "postgres"), RedisURL: testdb.Redis(t)}, "COAI_STORAGE_URL="+bucket.URL)
		test(t, p, func() int { return bucket.Objects(t) })
	})
}

func localBlobs(t *testing.T, dir string) int {
	t.Helper()
	n := 0
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return n
}

func rows(t *testing.T, p *coaitest.Product) int64 {
	t.Helper()
	n, err := p.DB.Read().NewSelect().Model((*models.File)(nil)).Count(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return int64(n)
}

// A file's whole life over REST, on both stores.
func TestFiles(t *testing.T) {
	t.Parallel()
	filesEach(t, func(t *testing.T, p *coaitest.Product, left func() int) {
		key := p.UserKey(nil)
		other := p.OtherUserKey("other@example.com", models.CreateAPIKeyInput{Name: "other"})
		content := `{"a":1}` + "\n" + strings.Repeat(`{"b":2}`+"\n", 1000)
		// The purpose may come behind the file.
		res := sendForm(t, p, key, field{"file", content, "../../etc/data.jsonl"}, field{"purpose", "batch", ""},
			field{"expires_after[anchor]", "created_at", ""}, field{"expires_after[seconds]", "3600", ""})
		var f file
		res.JSON(t, &f)
		sum := sha256.Sum256([]byte(content))
		if res.Status != http.StatusOK || !strings.HasPrefix(f.ID, "file-") || f.Object != "file" || f.Filename != "data.jsonl" || f.Purpose != "batch" ||
			f.Status != "processed" || f.Bytes != int64(len(content)) || f.SHA256 != hex.EncodeToString(sum[:]) ||
			f.ExpiresAt == nil || *f.ExpiresAt != f.CreatedAt+3600 {
			t.Fatalf("%d %s", res.Status, res.Body)
		}
		if left() != 1 {
			t.Errorf("%d blobs, want 1", left())
		}
		var again file
		p.Do("GET", "/v1/files/"+f.ID, key, nil).JSON(t, &again)
		if again.ID != f.ID || again.ContentType != f.ContentType {
			t.Errorf("%+v", again)
		}
		at := "/v1/files/" + f.ID + "/content"
		for name, c := range map[string]struct {
			headers []string
			status  int
			body    string
			method  string
		}{
			"whole":            {nil, 200, content, "GET"},
			"range":            {[]string{"Range", "bytes=2-4"}, 206, content[2:5], "GET"},
			"suffix":           {[]string{"Range", "bytes=-3"}, 206, content[len(content)-3:], "GET"},
			"beyond":           {[]string{"Range", "bytes=99999999-"}, 416, "", "GET"},
			"same":             {[]string{"If-None-Match", `"` + f.SHA256 + `"`}, 304, "", "GET"},
			"if range":         {[]string{"Range", "bytes=0-1", "If-Range", `"` + f.SHA256 + `"`}, 206, content[:2], "GET"},
			"if range differs": {[]string{"Range", "bytes=0-1", "If-Range", `"other"`}, 200, content, "GET"},
			"head":             {nil, 200, "", "HEAD"},
			"gzip":             {[]string{"Accept-Encoding", "gzip"}, 200, content, "GET"},
		} {
			res := p.Do(c.method, at, key, nil, c.headers...)
			if res.Status != c.status || c.status < 300 && string(res.Body) != c.body {
				t.Errorf("%s: %d, %d bytes %.40q", name, res.Status, len(res.Body), res.Body)
			}
			if c.status == 200 && (res.Header.Get("Content-Length") != fmt.Sprint(len(content)) || res.Header.Get("ETag") != `"`+f.SHA256+`"` ||
				!strings.HasPrefix(res.Header.Get("Content-Disposition"), "attachment") || res.Header.Get("X-Content-Type-Options") != "nosniff" ||
				res.Header.Get("Content-Encoding") != "" || res.Header.Get("No-Gzip-Compression") != "") {
				t.Errorf("%s: %v", name, res.Header)
			}
		}
		// Nobody else finds it.
		for _, c := range [][2]string{{"GET", "/v1/files/" + f.ID}, {"GET", at}, {"DELETE", "/v1/files/" + f.ID}} {
			if res := p.Do(c[0], c[1], other, nil); res.Status != http.StatusNotFound || res.Error(t).Code != models.CodeResourceNotFound {
				t.Errorf("%v of another account: %d %s", c, res.Status, res.Body)
			}
		}
		// Lists.
		for i := range 3 {
			upload(t, p, key, fmt.Sprintf("n%d.txt", i), "text")
		}
		var list struct {
			Data    []file
			HasMore bool `json:"has_more"`
			Total   int
		}
		p.Do("GET", "/v1/files?limit=10000&purpose=user_data", key, nil).JSON(t, &list)
		if len(list.Data) != 3 || list.Total != 3 || list.Data[0].Filename != "n2.txt" {
			t.Errorf("%+v", list)
		}
		p.Do("GET", "/v1/files?limit=2&order=asc&after="+f.ID, key, nil).JSON(t, &list)
		if len(list.Data) != 2 || !list.HasMore || list.Data[0].Filename != "n0.txt" || list.Total != 4 {
			t.Errorf("%+v", list)
		}
		p.Do("GET", "/v1/files", other, nil).JSON(t, &list)
		if len(list.Data) != 0 || list.Total != 0 {
			t.Errorf("another account sees %+v", list)
		}
		for _, q := range []string{"limit=10001", "purpose=fun", "limit=0"} {
			if res := p.Do("GET", "/v1/files?"+q, key, nil); res.Status != http.StatusBadRequest || *res.Error(t).Param != strings.Split(q, "=")[0] {
				t.Errorf("%s: %d %s", q, res.Status, res.Body)
			}
		}
		res = p.Do("DELETE", "/v1/files/"+f.ID, key, nil)
		if want := fmt.Sprintf(`{"id":%q,"object":"file","deleted":true}`, f.ID); res.Status != 200 || string(res.Body) != want {
			t.Errorf("%d %s", res.Status, res.Body)
		}
		if res := p.Do("GET", at, key, nil); res.Status != http.StatusNotFound || left() != 3 {
			t.Errorf("%d %s, %d blobs", res.Status, res.Body, left())
		}
	})
}

// Bad forms are refused, and leave nothing.
func TestFileRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := coaitest.Start(t, coaitest.Backends{}, "COAI_STORAGE_URL=file://"+dir, "COAI_FILE_MAX_SIZE=1MiB", "COAI_FILES_MAX_COUNT=2", "COAI_FILES_MAX_TOTAL=1536KiB")
	key := p.UserKey(nil)
	big := strings.Repeat("x", 1<<20+1)
	for name, c := range map[string]struct {
		fields []field
		status int
		code   string
		param  string
	}{
		"no file":        {[]field{{"purpose", "batch", ""}}, 400, models.CodeMissingParameter, "file"},
		"no purpose":     {[]field{{"file", "x", "a.txt"}}, 400, models.CodeMissingParameter, "purpose"},
		"bad purpose":    {[]field{{"purpose", "fun", ""}, {"file", "x", "a.txt"}}, 400, models.CodeInvalidValue, "purpose"},
		"bad late":       {[]field{{"file", "x", "a.txt"}, {"purpose", "fun", ""}}, 400, models.CodeInvalidValue, "purpose"},
		"twice":          {[]field{{"file", "x", "a.txt"}, {"file", "x", "a.txt"}}, 400, models.CodeInvalidValue, "file"},
		"empty":          {[]field{{"purpose", "batch", ""}, {"file", "", "a.txt"}}, 400, models.CodeInvalidValue, "file"},
		"unknown":        {[]field{{"purpose", "batch", ""}, {"colour", "red", ""}, {"file", "x", "a.txt"}}, 400, models.CodeInvalidValue, "colour"},
		"soon":           {[]field{{"purpose", "batch", ""}, {"expires_after[seconds]", "5", ""}, {"file", "x", "a.txt"}}, 400, models.CodeInvalidValue, "expires_after.seconds"},
		"anchor alone":   {[]field{{"purpose", "batch", ""}, {"file", "x", "a.txt"}, {"expires_after[anchor]", "created_at", ""}}, 400, models.CodeMissingParameter, "expires_after.seconds"},
		"too large":      {[]field{{"purpose", "batch", ""}, {"file", big, "a.txt"}}, 413, models.CodeRequestTooLarge, "file"},
		"much too large": {[]field{{"purpose", "batch", ""}, {"file", big + big + big, "a.txt"}}, 413, models.CodeRequestTooLarge, ""},
	} {
		res := sendForm(t, p, key, c.fields...)
		e := res.Error(t)
		param := ""
		if e.Param != nil {
			param = *e.Param
		}
		if res.Status != c.status || e.Code != c.code || param != c.param {
			t.Errorf("%s: %d %s", name, res.Status, res.Body)
		}
	}
	if res := p.Do("POST", "/v1/files", key, object{"purpose": "batch"}); res.Status != http.StatusUnsupportedMediaType {
		t.Errorf("JSON: %d %s", res.Status, res.Body)
	}
	if res := sendForm(t, p, p.UserKey(object{"scopes": []string{"chat"}}), field{"purpose", "batch", ""}, field{"file", "x", "a.txt"}); res.Status != http.StatusForbidden {
		t.Errorf("without the scope: %d %s", res.Status, res.Body)
	}
	contentType, body := fileForm(t, field{"purpose", "batch", ""}, field{"file", "0123456789", "a.txt"})
	if res := p.Do("POST", "/v1/files", key, body[:len(body)-70], "Content-Type", contentType); res.Status != http.StatusBadRequest {
		t.Errorf("cut short: %d %s", res.Status, res.Body)
	}
	if n := localBlobs(t, dir); n != 0 || rows(t, p) != 0 {
		t.Errorf("%d blobs and %d rows are left", n, rows(t, p))
	}
	// Quotas: of bytes, then of files.
	upload(t, p, key, "a.bin", big[:1<<20])
	if res := sendForm(t, p, key, field{"purpose", "batch", ""}, field{"file", big[:1<<20], "b.bin"}); res.Status != 429 || res.Error(t).Code != models.CodeInsufficientQuota || res.Header.Get("X-Should-Retry") != "false" {
		t.Errorf("over the total: %d %s", res.Status, res.Body)
	}
	upload(t, p, key, "c.txt", "x")
	if res := sendForm(t, p, key, field{"purpose", "batch", ""}, field{"file", "x", "d.txt"}); res.Status != 429 || res.Error(t).Code != models.CodeInsufficientQuota {
		t.Errorf("over the count: %d %s", res.Status, res.Body)
	}
	other := p.OtherUserKey("other@example.com", models.CreateAPIKeyInput{Name: "other"})
	upload(t, p, other, "a.txt", "of another account")
	if n := localBlobs(t, dir); n != 3 {
		t.Errorf("%d blobs, want 3", n)
	}
}

// A client that leaves in the middle leaves nothing behind.
func TestFileAborted(t *testing.T) {
	t.Parallel()
	filesEach(t, func(t *testing.T, p *coaitest.Product, left func() int) {
		key := p.UserKey(nil)
		ctx, leave := context.WithCancel(t.Context())
		r, w := io.Pipe()
		form := multipart.NewWriter(w)
		done := make(chan error, 1)
		req, err := http.NewRequestWithContext(ctx, "POST", p.URL+"/v1/files", r)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", form.FormDataContentType())
		req.Header.Set("Authorization", "Bearer "+key)
		go func() {
			res, err := p.Client.Do(req)
			if err == nil {
				_ = res.Body.Close()
			}
			done <- err
		}()
		if err := form.WriteField("purpose", "batch"); err != nil {
			t.Fatal(err)
		}
		part, err := form.CreateFormFile("file", "a.bin")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := part.Write(make([]byte, 12<<20)); err != nil { // more than a part of S3's
			t.Fatal(err)
		}
		coaitest.Eventually(t, "the row of the upload", func() bool { return rows(t, p) == 1 })
		leave()
		_ = w.CloseWithError(context.Canceled) // the transport waits for its body
		if err := <-done; err == nil {
			t.Error("the upload succeeded")
		}
		coaitest.Eventually(t, "nothing is left", func() bool { return rows(t, p) == 0 && left() == 0 })
	})
}

// A large file passes through a memory that does not grow with it.
func TestFileFlatMemory(t *testing.T) {
	const size = 192 << 20
	p := coaitest.Start(t, coaitest.Backends{})
	key := p.UserKey(nil)
	r, w := io.Pipe()
	form := multipart.NewWriter(w)
	var most uint64
	go func() {
		_ = form.WriteField("purpose", "batch")
		part, _ := form.CreateFormFile("file", "a.bin")
		piece := make([]byte, 1<<20)
		var m runtime.MemStats
		for i := range size >> 20 {
			_, _ = part.Write(piece)
			if i%16 == 15 {
				runtime.GC()
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapAlloc)
			}
		}
		_ = form.Close()
		_ = w.Close()
	}()
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	req, err := http.NewRequestWithContext(t.Context(), "POST", p.URL+"/v1/files", r)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", form.FormDataContentType())
	req.Header.Set("Authorization", "Bearer "+key)
	res, err := p.Client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(res.Body)
		t.Fatalf("%d %s", res.StatusCode, b)
	}
	// Other tests run in this process too; a file that is held would be 192 MiB.
	if grown := int64(most) - int64(before.HeapAlloc); grown > size/2 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
}

// Over GraphQL too: upload by a multipart request, lists, content, deletion.
func TestFilesGraphQL(t *testing.T) {
	t.Parallel()
	p := coaitest.Start(t, coaitest.Backends{})
	key := p.UserKey(nil)
	other := p.OtherUserKey("other@example.com", models.CreateAPIKeyInput{Name: "other"})
	const mutation = `mutation($a: Upload!, $b: Upload!) {
		a: uploadFile(file: $a, purpose: USER_DATA) { file { id filename bytes contentType sha256 status purpose } userErrors { message } }
		b: uploadFile(file: $b, purpose: FINE_TUNE, expiresAfter: {seconds: 7200}) { file { id filename expiresAt } userErrors { message } } }`
	operations := coaitest.Quote(object{"query": mutation, "variables": object{"a": nil, "b": nil}})
	type answer struct {
		Data struct {
			A, B struct {
				File       struct{ ID, Filename, ContentType, SHA256, Status, Purpose, ExpiresAt string }
				UserErrors []struct{ Message string }
			}
		}
		Errors []coaitest.GraphQLError
	}
	// The order of the files is not that of the mutations in the second form.
	for _, order := range [][]field{
		{{"0", "first", "a.txt"}, {"1", "second", "b.txt"}},
		{{"1", "second", "b.txt"}, {"0", "first", "a.txt"}},
	} {
		fields := append([]field{{"operations", operations, ""}, {"map", `{"0":["variables.a"],"1":["variables.b"]}`, ""}}, order...)
		contentType, body := fileForm(t, fields...)
		res := p.Do("POST", "/graphql", key, body, "Content-Type", contentType)
		var a answer
		if res.JSON(t, &a); len(a.Errors) > 0 || a.Data.A.File.Filename != "a.txt" || a.Data.B.File.Filename != "b.txt" || a.Data.B.File.ExpiresAt == "" ||
			a.Data.A.File.ContentType != "text/plain" || a.Data.A.File.Status != "PROCESSED" {
			t.Fatalf("%d %s", res.Status, res.Body)
		}
		var got struct {
			File struct{ Filename string }
			Node struct {
				Typename string `json:"__typename"`
			}
			FileContent struct{ Data string }
		}
		const query = `query($id: ID!) { file(id: $id) { filename } node(id: $id) { __typename } fileContent(id: $id, offset: 2, length: 2) { data } }`
		errs := p.GraphQL(key, query, object{"id": a.Data.A.File.ID}, &got)
		if data, _ := base64.StdEncoding.DecodeString(got.FileContent.Data); len(errs) > 0 || got.File.Filename != "a.txt" || got.Node.Typename != "File" || string(data) != "rs" {
			t.Errorf("%v %+v", errs, got)
		}
		for _, q := range []string{`query($id: ID!) { file(id: $id) { id } }`, `query($id: ID!) { fileContent(id: $id) { data } }`} {
			if errs := p.GraphQL(other, q, object{"id": a.Data.A.File.ID}, nil); len(errs) != 1 || errs[0].Extensions.Code != models.CodeResourceNotFound {
				t.Errorf("another account: %v", errs)
			}
		}
	}
	var list struct {
		Files struct {
			TotalCount int
			Nodes      []struct{ ID, Filename string }
			PageInfo   struct{ HasNextPage bool }
		}
	}
	const query = `{ files(first: 1, order: ASC, filter: {purpose: FINE_TUNE}) { totalCount nodes { id filename } pageInfo { hasNextPage } } }`
	if errs := p.GraphQL(key, query, nil, &list); len(errs) > 0 || list.Files.TotalCount != 2 || len(list.Files.Nodes) != 1 || !list.Files.PageInfo.HasNextPage {
		t.Errorf("%v %+v", errs, list)
	}
	var gone struct {
		DeleteFile struct {
			DeletedFileID string
			UserErrors    []struct{ Code string }
		}
	}
	const remove = `mutation($id: ID!) { deleteFile(id: $id) { deletedFileId userErrors { code } } }`
	id := object{"id": list.Files.Nodes[0].ID}
	if p.GraphQL(other, remove, id, &gone); len(gone.DeleteFile.UserErrors) != 1 || gone.DeleteFile.UserErrors[0].Code != "NOT_FOUND" {
		t.Errorf("%+v", gone)
	}
	gone.DeleteFile.UserErrors = nil
	if errs := p.GraphQL(key, remove, id, &gone); len(errs) > 0 || gone.DeleteFile.DeletedFileID != list.Files.Nodes[0].ID {
		t.Errorf("%v %+v", errs, gone)
	}
	for name, c := range map[string]struct {
		fields []field
		status int
	}{
		"no map":    {[]field{{"operations", operations, ""}}, 400},
		"list":      {[]field{{"operations", "[" + operations + "]", ""}, {"map", "{}", ""}}, 400},
		"bad path":  {[]field{{"operations", operations, ""}, {"map", `{"0":["query"]}`, ""}}, 400},
		"file gone": {[]field{{"operations", operations, ""}, {"map", `{"0":["variables.a"],"1":["variables.b"]}`, ""}, {"0", "x", "a.txt"}}, 200},
	} {
		contentType, body := fileForm(t, c.fields...)
		res := p.Do("POST", "/graphql", key, body, "Content-Type", contentType)
		if res.Status != c.status || !bytes.Contains(res.Body, []byte(`rror`)) {
			t.Errorf("%s: %d %s", name, res.Status, res.Body)
		}
	}
	contentType, body := fileForm(t, field{"operations", operations, ""}, field{"map", "{}", ""})
	if res := p.Do("POST", "/graphql", "", body, "Content-Type", contentType); res.Status != 400 {
		t.Errorf("without a preflight: %d %s", res.Status, res.Body)
	}
	if res := p.Do("POST", "/graphql", "", body, "Content-Type", contentType, "GraphQL-Preflight", "1"); res.Status != 401 {
		t.Errorf("without a key: %d %s", res.Status, res.Body)
	}
}
