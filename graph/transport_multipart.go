package graph

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/coaidev/coai/models"
)

// Limits of a multipart request.
const (
	maxUploads    = 10
	maxUploadMap  = 64 << 10 // bytes
	maxUploadPath = 200      // bytes
	// uploadIdle is how long a client may send nothing.
	uploadIdle = 60 * time.Second
)

func isMultipart(r *http.Request) bool {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && media == "multipart/form-data"
}

// preflighted says whether a browser would have asked before it sent the request.
// A form needs no such question, so a page of another origin could send one with
// the user's cookies; it cannot with one of these headers.
func preflighted(h http.Header) bool {
	for _, name := range []string{
		"Authorization", "X-Api-Key", "Api-Key",
		"Graphql-Preflight", "Apollo-Require-Preflight", "X-Apollo-Operation-Name", "Graphql-Require-Preflight",
	} {
		if h.Get(name) != "" {
			return true
		}
	}
	return false
}

// serveMultipart takes a request with files.
// https://github.com/jaydenseric/graphql-multipart-request-spec
func (h *Handler) serveMultipart(w http.ResponseWriter, r *http.Request) {
	media := negotiate(r)
	if media == "" || media == mediaEvents {
		notAcceptable(w, r)
		return
	}
	if !preflighted(r.Header) {
		WriteError(w, r, models.Invalid("", "A multipart request needs an API key in its headers, or the header 'GraphQL-Preflight: 1'."))
		return
	}
	if models.ViewerFrom(r.Context()) == nil {
		WriteError(w, r, &models.Error{
			Kind: models.KindUnauthenticated, Code: models.CodeMissingAPIKey,
			Message: "Uploads need an API key. Send it as 'Authorization: Bearer <key>'.",
		})
		return
	}
	_, params, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if e := r.Header.Get("Content-Encoding"); params["boundary"] == "" || e != "" && !strings.EqualFold(e, "identity") {
		WriteError(w, r, &models.Error{
			Kind: models.KindUnsupportedMedia, Code: models.CodeUnsupportedMediaType,
			Message: "A multipart request must be multipart/form-data with a boundary, without a content encoding.",
		})
		return
	}
	rc := http.NewResponseController(w)
	var from io.Reader = progress{r.Body, rc, r}
	if h.cfg.MaxUpload > 0 {
		most := h.cfg.MaxBody + maxUploads*(h.cfg.MaxUpload+1<<20)
		from = io.LimitReader(from, most) // each file has its own limit; this is against what is around them
	}
	f := &form{parts: multipart.NewReader(from, params["boundary"]), dir: h.cfg.UploadDir, most: h.cfg.MaxUpload}
	defer f.close()
	defer func() { _ = rc.SetReadDeadline(time.Time{}) }()
	req, err := f.request(h.cfg.MaxBody)
	if err != nil {
		w.Header().Set("Connection", "close") // the rest is not read
		if e := new(models.Error); errors.As(err, &e) && e.Kind == models.KindInvalid {
			h.malformed(w, r, media, err)
			return
		}
		WriteError(w, r, err)
		return
	}
	h.execute(w, r, media, req)
}

// progress reads a body whose client must send something now and then.
type progress struct {
	io.Reader
	rc *http.ResponseController
	r  *http.Request
}

// Read is io.Reader's.
func (p progress) Read(b []byte) (int, error) {
	_ = p.rc.SetReadDeadline(time.Now().Add(uploadIdle))
	n, err := p.Reader.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		if p.r.Context().Err() != nil {
			return n, p.r.Context().Err() //nolint:wrapcheck // the request's own
		}
		return n, errCut
	}
	return n, err //nolint:wrapcheck // a reader's
}

var errCut = models.Invalid("", "The body is not a form in multipart/form-data, or is cut short.")

// form is a multipart request that is read as its files are asked for.
type form struct {
	parts *multipart.Reader
	dir   string
	most  int64 // bytes of a file that waits
	files map[string]*formFile
	err   error
}

// formFile is a file of the form. It is read from the form itself when its turn has
// come, and from the disk when others were asked for before it, or it has two readers.
type formFile struct {
	form  *form
	name  string
	paths [][]string

	part   *multipart.Part // while it is the one that the form is at
	waits  *os.File
	header *multipart.Part // what its head says
	size   int64
}

// request reads the first two parts: the request, and where its files belong.
func (f *form) request(maxBody int64) (*request, error) {
	operations, err := f.field("operations", maxBody)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(strings.TrimLeft(string(operations[:min(len(operations), 64)]), " \t\r\n"), "[") {
		return nil, models.Invalid("operations", "'operations' must be one request, not a list.")
	}
	req, err := decodeRequest(operations)
	if err != nil {
		return nil, err
	}
	places, err := f.field("map", maxUploadMap)
	if err != nil {
		return nil, err
	}
	if err := f.place(places); err != nil {
		return nil, err
	}
	req.place = f.fill
	return req, nil
}

func (f *form) field(name string, most int64) ([]byte, error) {
	part, err := f.parts.NextRawPart()
	if err != nil {
		return nil, formError(err, name)
	}
	if part.FormName() != name {
		return nil, models.Invalid(name, "The form must begin with 'operations' and 'map', in this order, before the files.")
	}
	b, err := io.ReadAll(io.LimitReader(part, most+1))
	switch {
	case err != nil:
		return nil, formError(err, name)
	case int64(len(b)) > most:
		return nil, tooLarge(most)
	}
	return b, nil
}

// formError is the client's error for a form that cannot be read on; what was looked
// for is missing when it has ended properly.
func formError(err error, missing string) error {
	var known *models.Error
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, io.EOF) && missing != "":
		return models.Invalid(missing, "The part '%s' is missing in the form.", missing)
	}
	return errCut
}

// place reads the map.
func (f *form) place(text []byte) error {
	members, err := decodeObject(text)
	if err != nil {
		return badJSON("'map'", err)
	}
	if len(members) > maxUploads {
		return models.Invalid("map", "A request can have at most %d files.", maxUploads)
	}
	f.files = make(map[string]*formFile, len(members))
	taken := map[string]bool{}
	for name, value := range members {
		file := &formFile{form: f, name: name}
		dec := jsontext.NewDecoder(strings.NewReader(string(value)))
		if dec.PeekKind() != jsontext.KindBeginArray {
			return models.Invalid("map", "The values of 'map' must be lists of paths such as [\"variables.file\"].")
		}
		_, _ = dec.ReadToken()
		for dec.PeekKind() == jsontext.KindString {
			token, err := dec.ReadToken()
			if err != nil {
				return badJSON("'map'", err)
			}
			path := token.String()
			keys := strings.Split(path, ".")
			if len(path) > maxUploadPath || len(keys) < 2 || keys[0] != "variables" || taken[path] || len(file.paths) == maxUploads {
				return models.Invalid("map", "The paths in 'map' must be those of variables, such as variables.file, each once.")
			}
			taken[path] = true
			file.paths = append(file.paths, keys[1:])
		}
		if dec.PeekKind() != jsontext.KindEndArray || len(file.paths) == 0 {
			return models.Invalid("map", "The values of 'map' must be lists of paths such as [\"variables.file\"].")
		}
		f.files[name] = file
	}
	return nil
}

// fill puts the files into the variables, in which they are null.
func (f *form) fill(values map[string]any) *gqlerror.Error {
	for _, file := range f.files {
		for _, path := range file.paths {
			if !put(values, path, file.upload(len(file.paths) > 1)) {
				e := gqlerror.Errorf("The variable that 'map' names as variables.%s must be there and null.", strings.Join(path, "."))
				e.Extensions = map[string]any{"code": models.CodeInvalidValue}
				e.Err = models.Invalid("map", "%s", e.Message)
				return e
			}
		}
	}
	return nil
}

// put sets what is null at a path of maps and lists.
func put(in any, path []string, u *models.Upload) bool {
	switch in := in.(type) {
	case map[string]any:
		v, ok := in[path[0]]
		if len(path) > 1 {
			return put(v, path[1:], u)
		}
		if ok && v == nil {
			in[path[0]] = u
			return true
		}
	case []any:
		i, err := strconv.Atoi(path[0])
		if err != nil || i < 0 || i >= len(in) {
			return false
		}
		if len(path) > 1 {
			return put(in[i], path[1:], u)
		}
		if in[i] == nil {
			in[i] = u
			return true
		}
	}
	return false
}

// upload is the file for a resolver. shared: another one reads it too.
func (file *formFile) upload(shared bool) *models.Upload {
	r := &formReader{file: file, shared: shared}
	return &models.Upload{
		Reader: r,
		Filename: func() string {
			if file.header == nil {
				return ""
			}
			return file.header.FileName()
		},
		ContentType: func() string {
			if file.header == nil {
				return ""
			}
			return file.header.Header.Get("Content-Type")
		},
	}
}

// formReader reads a file from where it is.
type formReader struct {
	file   *formFile
	shared bool
	from   io.Reader
}

// Read is io.Reader's.
func (r *formReader) Read(p []byte) (int, error) {
	if r.from == nil {
		from, err := r.file.open(r.shared)
		if err != nil {
			return 0, err
		}
		r.from = from
	}
	n, err := r.from.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = formError(err, "")
	}
	return n, err //nolint:wrapcheck // a reader's, or the client's
}

// open finds the file: it may wait on the disk; else the form is read up to it, and
// files before it are put aside.
func (file *formFile) open(shared bool) (io.Reader, error) {
	f := file.form
	for file.waits == nil && file.part == nil {
		if f.err != nil {
			return nil, f.err
		}
		if err := f.next(file, shared); err != nil {
			f.err = formError(err, file.name)
			return nil, f.err
		}
	}
	if file.waits != nil {
		return io.NewSectionReader(file.waits, 0, file.size), nil
	}
	return file.part, nil
}

// next moves on to the next part. It is put aside unless it is what is asked for.
func (f *form) next(asked *formFile, shared bool) error {
	part, err := f.parts.NextRawPart()
	if err != nil {
		return err //nolint:wrapcheck // by open
	}
	file := f.files[part.FormName()]
	if file == nil || file.header != nil {
		return models.Invalid("map", "The form has a part that 'map' does not name, or names twice.")
	}
	file.header = part
	if file == asked && !shared {
		file.part = part
		return nil
	}
	aside, err := os.CreateTemp(f.dir, "coai-upload-")
	if err != nil {
		return fmt.Errorf("put a file aside: %w", err)
	}
	_ = os.Remove(aside.Name()) // it lives until it is closed
	file.waits = aside
	var from io.Reader = part
	if f.most > 0 {
		from = io.LimitReader(part, f.most+1) // one byte too many for whoever reads it
	}
	file.size, err = io.Copy(aside, from)
	return err //nolint:wrapcheck // by open
}

func (f *form) close() {
	for _, file := range f.files {
		if file.waits != nil {
			_ = file.waits.Close()
		}
	}
}
