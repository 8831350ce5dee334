package files

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/klippa-app/go-pdfium"
	"github.com/klippa-app/go-pdfium/requests"
	"github.com/klippa-app/go-pdfium/webassembly"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/coaidev/coai/models"
)

// Bounds of the text that is taken out of a document.
const (
	MaxPages = 500
	MaxText  = 1 << 20 // bytes
	// textTimeout bounds the work on one document.
	textTimeout = 30 * time.Second
	// memoryPages is what a document's work may take, in WebAssembly's pages: 512 MiB.
	memoryPages = 8192
)

// reader takes the text out of PDFs. The engine is PDFium in a WebAssembly
// sandbox: a hostile document can neither reach the process's memory nor its
// files, nor work for longer or on more than it is given. It is made at first use.
type reader struct {
	cacheDir string

	mu    sync.Mutex
	pool  pdfium.Pool
	cache wazero.CompilationCache
	ended bool
}

var errUnreadable = errors.New("the document cannot be read")

// engine makes the engine, once.
func (r *reader) engine() (pdfium.Pool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return nil, errors.New("the PDF engine is closed")
	}
	if r.pool != nil {
		return r.pool, nil
	}
	cfg := wazero.NewRuntimeConfigInterpreter()
	if r.cacheDir != "" {
		cache, err := wazero.NewCompilationCacheWithDir(r.cacheDir)
		if err != nil {
			return nil, fmt.Errorf("open the cache of the PDF engine: %w", err)
		}
		r.cache = cache
		cfg = wazero.NewRuntimeConfigCompiler().WithCompilationCache(cache)
	}
	cfg = cfg.WithCoreFeatures(api.CoreFeaturesV2 | experimental.CoreFeaturesExceptionHandling).
		WithCloseOnContextDone(true).WithMemoryLimitPages(memoryPages)
	pool, err := webassembly.Init(webassembly.Config{
		MaxIdle: 1, MaxTotal: 2, RuntimeConfig: cfg,
		FSConfig: wazero.NewFSConfig(), Stdout: io.Discard, Stderr: io.Discard, // it sees no files
	})
	if err != nil {
		return nil, fmt.Errorf("start the PDF engine: %w", err)
	}
	r.pool = pool
	return pool, nil
}

func (r *reader) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	var err error
	if r.pool != nil {
		err = r.pool.Close()
		r.pool = nil
	}
	if r.cache != nil {
		//nolint:forbidigo // it does nothing with it
		err = errors.Join(err, r.cache.Close(context.Background()))
	}
	return err
}

// text is the text of a PDF, page by page, of at most most bytes.
func (r *reader) text(ctx context.Context, data []byte, most int) (string, error) {
	pool, err := r.engine()
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, textTimeout)
	defer cancel()
	worker, err := pool.GetInstance(textTimeout)
	if err != nil {
		return "", fmt.Errorf("wait for the PDF engine: %w", err)
	}
	// Killing the worker is what ends work that does not end by itself.
	stop := context.AfterFunc(ctx, func() { _ = worker.Kill() })
	text, err := pages(ctx, worker, data, most)
	if stop() {
		// A worker that has seen a document is not used again.
		_ = worker.Kill()
	}
	if ctx.Err() != nil {
		return "", fmt.Errorf("read the document: %w", ctx.Err())
	}
	return text, err
}

func pages(ctx context.Context, worker pdfium.Pdfium, data []byte, most int) (text string, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errUnreadable
		}
	}()
	doc, err := worker.OpenDocument(&requests.OpenDocument{File: &data})
	if err != nil {
		return "", errUnreadable
	}
	count, err := worker.FPDF_GetPageCount(&requests.FPDF_GetPageCount{Document: doc.Document})
	if err != nil {
		return "", errUnreadable
	}
	if count.PageCount > MaxPages {
		return "", models.Invalid("", "The document has %d pages; the text of at most %d can be given to a model.", count.PageCount, MaxPages)
	}
	var b strings.Builder
	for i := range count.PageCount {
		if err := ctx.Err(); err != nil {
			return "", err //nolint:wrapcheck // the caller's own
		}
		page, err := worker.GetPageText(&requests.GetPageText{Page: requests.Page{ByIndex: &requests.PageByIndex{Document: doc.Document, Index: i}}})
		if err != nil {
			continue // a broken page does not spoil the others
		}
		if b.Len()+len(page.Text) > most {
			return "", tooMuchText(most)
		}
		if t := strings.TrimSpace(strings.ReplaceAll(page.Text, "\x00", "")); t != "" {
			if b.Len() > 0 {
				b.WriteString("\n\n")
			}
			b.WriteString(t)
		}
	}
	if b.Len() == 0 {
		return "", models.Invalid("", "The document has no text, only images; send it to a model that takes PDF files, or send the images.")
	}
	return strings.ToValidUTF8(strings.ReplaceAll(b.String(), "\r\n", "\n"), "\uFFFD"), nil
}

func tooMuchText(most int) *models.Error {
	return models.Invalid("", "The file has too much text; at most %d bytes of it can be given to a model.", most)
}

// Text is the text of a file: of one that is text, or that of a PDF. What has
// none, cannot be read, or has more than most bytes is a KindInvalid error.
func (s *Service) Text(ctx context.Context, f *models.File, data []byte, most int) (string, error) {
	switch {
	case IsText(f.ContentType):
		switch {
		case len(data) > most:
			return "", tooMuchText(most)
		case !utf8.Valid(data):
			return "", models.Invalid("", "The text of the file '%s' is not in UTF-8.", f.ID)
		}
		return strings.ReplaceAll(strings.TrimPrefix(string(data), "\uFEFF"), "\x00", ""), nil
	case f.ContentType == "application/pdf":
		text, err := s.pdf.text(ctx, data, most)
		switch {
		case errors.Is(err, errUnreadable):
			return "", models.Invalid("", "The file '%s' is no PDF that can be read; it may be broken, or need a password.", f.ID)
		case errors.Is(err, context.DeadlineExceeded):
			return "", models.Invalid("", "Taking the text out of the file '%s' takes too long.", f.ID)
		}
		return text, err
	}
	return "", models.Invalid("", "The file '%s' is of the type %s, which cannot be given to this model.", f.ID, f.ContentType)
}
