package rest

import (
	"context"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strconv"
	"time"

	"github.com/coaidev/coai/graph"
	"github.com/coaidev/coai/models"
)

const (
	maxFileFields    = 1 << 20 // bytes of a form beside the file
	uploadIdle       = 60 * time.Second
	maxFileFormParts = 20
)

type fileView struct {
	Object string `json:"object"`
	*models.File
	CreatedAt     time.Time  `json:"created_at"`
	ExpiresAt     *time.Time `json:"expires_at"`
	StatusDetails *string    `json:"status_details"`
}

func viewFile(f *models.File) any {
	return &fileView{Object: "file", File: f, CreatedAt: f.CreatedAt, ExpiresAt: f.ExpiresAt}
}

// uploadFile takes a form with a file, whose fields come in any order. The file
// is never held in memory.
// https://platform.openai.com/docs/api-reference/files/create
func (h *handler) uploadFile(w http.ResponseWriter, r *http.Request) error {
	if err := checkForm(r.Header); err != nil {
		return err
	}
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return invalidForm("The request has no body. Send a form with a file.")
	}
	body := r.Body
	if h.cfg.MaxFile > 0 {
		if r.ContentLength > h.cfg.MaxFile+maxFileFields {
			w.Header().Set("Connection", "close")
			return tooLarge(h.cfg.MaxFile)
		}
		body = http.MaxBytesReader(innermost(w), body, h.cfg.MaxFile+maxFileFields)
	}
	rc := http.NewResponseController(w)
	_, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return invalidForm("The Content-Type has no boundary.")
	}
	f := &fileForm{form: multipart.NewReader(progress{body, rc, r.Context(), h.cfg.MaxFile}, params["boundary"]), seen: map[string]bool{}}
	done, err := f.upload(r.Context(), h.resolver)
	if err != nil {
		w.Header().Set("Connection", "close") // the rest is not read
		return err
	}
	_ = rc.SetReadDeadline(time.Time{})
	return writeJSON(w, viewFile(done))
}

// progress reads a body whose client must send something now and then.
type progress struct {
	body io.Reader
	rc   *http.ResponseController
	ctx  context.Context //nolint:containedctx // of the request that the body is of
	most int64
}

// Read is io.Reader's.
func (p progress) Read(b []byte) (int, error) {
	_ = p.rc.SetReadDeadline(time.Now().Add(uploadIdle)) // a writer without deadlines is one in a test
	n, err := p.body.Read(b)
	if err == nil || errors.Is(err, io.EOF) {
		return n, err //nolint:wrapcheck // a reader's
	}
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return n, tooLarge(p.most)
	case p.ctx.Err() != nil:
		return n, p.ctx.Err() //nolint:wrapcheck // the request's own
	}
	return n, errForm()
}

func errForm() error {
	return invalidForm("The body is not a form in multipart/form-data, or is cut short.")
}

// fileForm is a form with one file, read as it arrives.
type fileForm struct {
	form  *multipart.Reader
	seen  map[string]bool
	parts int
	in    models.UploadFileInput

	anchor  string
	seconds *int
}

func (f *fileForm) upload(ctx context.Context, resolver *graph.Resolver) (*models.File, error) {
	if err := f.read(); err != nil {
		return nil, err
	}
	if f.in.File == nil { // the form has ended
		if err := f.in.Validate(); err != nil {
			return nil, err //nolint:wrapcheck // the model's own words
		}
	}
	f.in.Rest = func(in *models.UploadFileInput) error {
		// What is read behind the file goes into the same input.
		if err := f.read(); err != nil {
			return err
		}
		in.Purpose, in.ExpiresAfter = f.in.Purpose, f.in.ExpiresAfter
		return nil
	}
	done, err := graph.Outcome(resolver.Upload(ctx, f.in))
	if err != nil {
		return nil, err //nolint:wrapcheck // a resolver's
	}
	return done.File, nil
}

// read takes fields up to the file, or, behind it, to the end.
func (f *fileForm) read() error {
	for {
		part, err := f.form.NextRawPart()
		switch known := new(models.Error); {
		case errors.Is(err, io.EOF):
			return f.expiry()
		case errors.As(err, &known), errors.Is(err, context.Canceled):
			return err //nolint:wrapcheck // the reader's own words
		case err != nil:
			return errForm()
		}
		if f.parts++; f.parts > maxFileFormParts {
			return invalidForm("The form must have at most " + strconv.Itoa(maxFileFormParts) + " parts.")
		}
		name := part.FormName()
		if f.seen[name] {
			return models.Invalid(clip(name, 80), "'%s' is in the form more than once.", clip(name, 80))
		}
		f.seen[name] = true
		if name == "file" {
			f.in.File = &models.Upload{
				Reader:      formPart{part},
				Filename:    part.FileName,
				ContentType: func() string { return part.Header.Get("Content-Type") },
			}
			return f.expiry()
		}
		if err := f.field(name, part); err != nil {
			return err
		}
	}
}

// formPart reads a part, with the errors that its client sees.
type formPart struct{ part *multipart.Part }

// Read is io.Reader's.
func (p formPart) Read(b []byte) (int, error) {
	n, err := p.part.Read(b)
	known := new(models.Error)
	if err == nil || errors.Is(err, io.EOF) || errors.As(err, &known) || errors.Is(err, context.Canceled) {
		return n, err //nolint:wrapcheck // a reader's
	}
	return n, errForm()
}

func (f *fileForm) field(name string, part *multipart.Part) error {
	b, err := io.ReadAll(io.LimitReader(part, maxFormField+1))
	known := new(models.Error)
	switch {
	case errors.As(err, &known):
		return known
	case err != nil:
		return errForm()
	case len(b) > maxFormField:
		return models.Invalid(clip(name, 80), "'%s' must have at most %d bytes.", clip(name, 80), maxFormField)
	}
	switch value := string(b); name {
	case "purpose":
		purpose := models.FilePurpose(value)
		f.in.Purpose = &purpose
	case "expires_after[anchor]":
		f.anchor = value
	case "expires_after[seconds]":
		n, err := strconv.Atoi(value)
		if err != nil {
			return models.Invalid("expires_after.seconds", "'expires_after.seconds' must be a whole number.")
		}
		f.seconds = &n
	default:
		return models.Invalid(clip(name, 80), "Unknown field '%s' in the form; there are file, purpose, expires_after[anchor] and expires_after[seconds].", clip(name, 80))
	}
	return nil
}

// expiry puts the two fields of the expiry together. Behind the file both must be
// there.
func (f *fileForm) expiry() error {
	switch {
	case f.seconds != nil:
		f.in.ExpiresAfter = &models.FileExpiry{Seconds: *f.seconds}
		if f.seen["expires_after[anchor]"] {
			f.in.ExpiresAfter.Anchor = &f.anchor
		}
	case f.seen["expires_after[anchor]"] && f.seen["file"] && f.in.Rest != nil:
		return models.Missing("expires_after.seconds")
	}
	return nil
}

// https://platform.openai.com/docs/api-reference/files/list
func (h *handler) listFiles(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	p, err := parsePageUpTo(q, models.MaxFilesPage)
	if err != nil {
		return err
	}
	filter := new(models.FileFilter)
	if s := q.Get("purpose"); s != "" {
		purpose := models.FilePurpose(s)
		filter.Purpose = &purpose
	}
	first, after, last, before := p.args()
	page, err := h.resolver.Query().Files(r.Context(), first, after, last, before, p.order, filter)
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	l, err := viewList(r.Context(), p, page, func(f *models.File) string { return f.ID }, viewFile)
	if err != nil {
		return err
	}
	return writeJSON(w, l)
}

func (h *handler) retrieveFile(w http.ResponseWriter, r *http.Request) error {
	f, err := h.resolver.Query().File(r.Context(), r.PathValue("id"))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, viewFile(f))
}

func (h *handler) deleteFile(w http.ResponseWriter, r *http.Request) error {
	done, err := graph.Outcome(h.resolver.Mutation().DeleteFile(r.Context(), r.PathValue("id")))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, deletedView{ID: *done.DeletedFileID, Object: "file", Deleted: true})
}

// retrieveFileContent sends a file, or the ranges of it that are asked for. It is
// for saving, not for showing: a page among the files must not run here.
// https://platform.openai.com/docs/api-reference/files/retrieve-contents
func (h *handler) retrieveFileContent(w http.ResponseWriter, r *http.Request) error {
	c, err := h.resolver.OpenFile(r.Context(), r.PathValue("id"))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	defer func() { _ = c.Body.Close() }()
	head := w.Header()
	head.Set("Content-Type", c.File.ContentType)
	head.Set("Content-Disposition", disposition(c.File.Filename))
	head.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Cache-Control", "private, no-cache, no-transform")
	head.Set("ETag", `"`+c.File.SHA256+`"`)
	head.Set("No-Gzip-Compression", "1") // for the server in front, which takes it away: ranges count the file's own bytes
	http.ServeContent(patient{w, http.NewResponseController(w)}, r, "", c.File.CreatedAt, c.Body)
	return nil
}

func disposition(name string) string {
	if d := mime.FormatMediaType("attachment", map[string]string{"filename": name}); d != "" {
		return d
	}
	return "attachment"
}

// patient gives each write its own time, so that a large file takes as long as its
// client needs, and one that does not read is given up.
type patient struct {
	http.ResponseWriter
	rc *http.ResponseController
}

// Write is http.ResponseWriter's.
func (p patient) Write(b []byte) (int, error) {
	_ = p.rc.SetWriteDeadline(time.Now().Add(writeTimeout)) // a writer without deadlines is one in a test
	return p.ResponseWriter.Write(b)                        //nolint:wrapcheck // a writer's
}
