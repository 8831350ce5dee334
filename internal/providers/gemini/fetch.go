package gemini

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/coaidev/coai/internal/providers"
)

// Limits of what a request may have fetched.
const (
	maxFiles     = 16
	maxFile      = 20 << 20 // bytes
	maxAllFiles  = 50 << 20 // bytes
	filesAtOnce  = 4
	fetchTimeout = 20 * time.Second // for each
	maxHops      = 3
)

// file is an image that a request names by URL.
type file struct {
	url  string
	at   string // its path in the request
	into *part
}

// fileClient follows a few redirects: each hop is dialled by c's transport, and
// so under its policy.
func fileClient(c *http.Client) *http.Client {
	if c == nil {
		return nil
	}
	own := *c
	own.Jar = nil
	own.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		if len(via) > maxHops || !fetchable(r.URL) {
			return http.ErrUseLastResponse
		}
		r.Header.Del("Referer") // the URL before may be a secret
		return nil
	}
	return &own
}

// fetchable says whether a URL is one that may be asked.
func fetchable(u *url.URL) bool {
	return (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil
}

// fetch gets the images that a request names by URL, because Gemini takes them
// only inside the request.
func (p *Provider) fetch(ctx context.Context, files []file) error {
	if len(files) == 0 {
		return nil
	}
	if len(files) > maxFiles {
		at := files[maxFiles].at
		return invalid(at, fmt.Sprintf("A request must name at most %d images by URL for this model.", maxFiles))
	}
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(filesAtOnce)
	var total atomic.Int64
	for _, f := range files {
		group.Go(func() error {
			b, err := p.fetchOne(inner, f)
			if err == nil && total.Add(int64(base64.StdEncoding.DecodedLen(len(b.Data)))) > maxAllFiles {
				err = invalid(f.at, fmt.Sprintf("The images that a request names by URL must have at most %d MiB together.", maxAllFiles>>20))
			}
			f.into.InlineData = b
			return err
		})
	}
	err := group.Wait()
	if err != nil && ctx.Err() != nil {
		return providers.AsError(ctx.Err())
	}
	return err //nolint:wrapcheck // a *providers.Error
}

// fetchOne gets one image. Its errors are the client's to act on, and tell
// nothing about the network that we are in.
func (p *Provider) fetchOne(ctx context.Context, f file) (*blob, error) {
	refuse := func(format string, args ...any) error {
		return invalid(f.at, fmt.Sprintf("'%s' could not be used: ", f.at)+fmt.Sprintf(format, args...))
	}
	u, err := url.Parse(f.url)
	switch {
	case err != nil || !fetchable(u):
		return nil, refuse("it must be an http or https URL without credentials, or a data URL.")
	case p.files == nil:
		return nil, refuse("this channel fetches no images; send a data URL.")
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, refuse("it is not a valid URL.")
	}
	req.Header.Set("User-Agent", "coai")
	req.Header.Set("Accept", "image/*")
	res, err := p.files.Do(req)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return nil, refuse("it did not arrive within %s.", fetchTimeout)
		}
		return nil, refuse("no public server answers there.")
	}
	defer res.Body.Close()
	switch encoding := res.Header.Get("Content-Encoding"); {
	case res.StatusCode != http.StatusOK:
		return nil, refuse("the server answered with status %d.", res.StatusCode)
	case encoding != "" && !strings.EqualFold(encoding, "identity"):
		return nil, refuse("the server sent it compressed, though that was not asked for.")
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, maxFile+1))
	switch {
	case err != nil:
		return nil, refuse("it did not arrive whole.")
	case len(data) > maxFile:
		return nil, refuse("it must have at most %d MiB.", maxFile>>20)
	}
	mediaType, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if mediaType == "" || mediaType == "application/octet-stream" || mediaType == "binary/octet-stream" {
		mediaType = http.DetectContentType(data)
	}
	if !strings.HasPrefix(mediaType, "image/") {
		return nil, refuse("it must be an image, of a content type image/*.")
	}
	return &blob{MimeType: mediaType, Data: base64.StdEncoding.EncodeToString(data)}, nil
}
