package gemini_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/gemini"
	"github.com/coaidev/coai/internal/safehttp"
	"github.com/coaidev/coai/models"
)

const pixel = "\x89PNG\r\n\x1a\nrest"

// withImages asks about the images at the URLs.
func withImages(urls ...string) providers.Request {
	var parts []models.ContentPart
	for _, u := range urls {
		parts = append(parts, models.ContentPart{Type: "image_url", ImageURL: &models.ImageURL{URL: u}})
	}
	return providers.Request{Model: "gemini-2.5-flash", Input: &models.ChatCompletionInput{
		Model: "fast", Messages: []models.ChatMessage{{Role: models.RoleMessageUser, Content: &models.MessageContent{Parts: parts}}},
	}}
}

// fetching is a provider whose requests are kept, and that fetches images with
// the client.
func fetching(t *testing.T, files *http.Client) (p *gemini.Provider, requests *[][]byte) {
	t.Helper()
	requests = new([][]byte)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		*requests = append(*requests, body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, whole)
	}))
	t.Cleanup(server.Close)
	return gemini.New(gemini.Config{BaseURL: server.URL, APIKey: apiKey, Files: files}, server.Client()), requests
}

func TestImagesAreFetched(t *testing.T) {
	images := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Goog-Api-Key") != "" || r.Header.Get("Authorization") != "" || r.Header.Get("Referer") != "" {
			t.Errorf("headers of a fetch: %v", r.Header)
		}
		switch r.URL.Path {
		case "/moved":
			http.Redirect(w, r, "/typed?secret=1", http.StatusFound)
			return
		case "/typed":
			w.Header().Set("Content-Type", "image/webp; charset=binary")
		default:
			w.Header().Set("Content-Type", "application/octet-stream")
		}
		_, _ = io.WriteString(w, pixel)
	}))
	defer images.Close()
	p, requests := fetching(t, images.Client())
	if _, err := p.Complete(t.Context(), withImages(images.URL+"/moved", images.URL+"/sniffed")); err != nil {
		t.Fatal(err)
	}
	var sent struct {
		Contents []struct {
			Parts []struct {
				InlineData struct{ MimeType, Data string }
			}
		}
	}
	if err := json.Unmarshal((*requests)[0], &sent); err != nil || len(sent.Contents[0].Parts) != 2 {
		t.Fatalf("%v: %s", err, (*requests)[0])
	}
	for i, want := range []string{"image/webp", "image/png"} {
		got := sent.Contents[0].Parts[i].InlineData
		if got.MimeType != want || got.Data != base64.StdEncoding.EncodeToString([]byte(pixel)) {
			t.Errorf("part %d is %+v, want the image as %s", i, got, want)
		}
	}
}

func TestImagesThatCannotBeUsed(t *testing.T) {
	images := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "image/png")
		switch r.URL.Path {
		case "/missing":
			w.WriteHeader(http.StatusNotFound)
		case "/html":
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<html>")
		case "/unlabelled-html":
			w.Header().Set("Content-Type", "application/octet-stream")
			_, _ = io.WriteString(w, "<html>")
		case "/gzip":
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = io.WriteString(w, "x")
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusFound)
		case "/to-file":
			w.Header().Set("Location", "file:///etc/passwd")
			w.WriteHeader(http.StatusFound)
		case "/large":
			_, _ = io.Copy(w, io.LimitReader(zeros{}, 20<<20+1))
		case "/cut":
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, "x")
		}
	}))
	defer images.Close()
	client := &http.Client{Transport: &http.Transport{DisableCompression: true, DisableKeepAlives: true}} // as safehttp's
	for path, want := range map[string]string{
		"/missing": "status 404", "/html": "content type image/*", "/unlabelled-html": "content type image/*",
		"/gzip": "compressed", "/loop": "status 302", "/to-file": "status 302", "/large": "at most 20 MiB", "/cut": "whole",
	} {
		p, requests := fetching(t, client)
		_, err := p.Complete(t.Context(), withImages("data:image/png;base64,QQ==", images.URL+path))
		wantRejected(t, err, "messages[0].content[1].image_url.url", want)
		if len(*requests) != 0 {
			t.Errorf("%s: the upstream was asked", path)
		}
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// Whoever may ask for a completion must not reach into the operator's network,
// not by a name or a redirect either.
func TestImagesFromInsideAreRefused(t *testing.T) {
	var reached atomic.Int32
	inside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reached.Add(1)
		w.Header().Set("Content-Type", "image/png")
		_, _ = io.WriteString(w, pixel)
	}))
	defer inside.Close()
	_, port, _ := strings.Cut(strings.TrimPrefix(inside.URL, "http://"), ":")
	transport := safehttp.NewTransport(safehttp.Options{})
	defer transport.CloseIdleConnections()
	for _, u := range []string{
		inside.URL + "/a.png", "http://localhost:" + port + "/", "http://[::1]:" + port + "/", "http://[::ffff:127.0.0.1]:" + port + "/",
		"http://0.0.0.0:" + port + "/", "http://169.254.169.254/latest/meta-data/", "http://10.0.0.1/", "https://192.168.0.1/",
	} {
		p, requests := fetching(t, &http.Client{Transport: transport})
		_, err := p.Complete(t.Context(), withImages(u))
		e := wantRejected(t, err, "messages[0].content[0].image_url.url", "no public server answers there")
		if strings.Contains(e.Message, "127.0.0.1") || strings.Contains(e.Message, "refused") || len(*requests) != 0 {
			t.Errorf("%s: %v, %d requests", u, e, len(*requests))
		}
	}
	// A redirect from outside leads nowhere: the transport lets the first server be
	// reached, and checks the second itself.
	outside := httptest.NewServer(http.RedirectHandler(inside.URL, http.StatusFound))
	defer outside.Close()
	p, _ := fetching(t, &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		if "http://"+r.URL.Host == outside.URL {
			return outside.Client().Transport.RoundTrip(r)
		}
		return transport.RoundTrip(r)
	})})
	_, err := p.Complete(t.Context(), withImages(outside.URL))
	wantRejected(t, err, "messages[0].content[0].image_url.url", "no public server answers there")
	if reached.Load() != 0 {
		t.Errorf("the server inside was reached %d times", reached.Load())
	}
}

func TestImagesHaveLimits(t *testing.T) {
	images := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "image/png")
		_, _ = w.Write(bytes.Repeat([]byte{1}, 19<<20))
	}))
	defer images.Close()
	p, _ := fetching(t, images.Client())
	var many []string
	for i := range 17 {
		many = append(many, fmt.Sprintf("%s/%d", images.URL, i))
	}
	_, err := p.Complete(t.Context(), withImages(many...))
	wantRejected(t, err, "messages[0].content[16].image_url.url", "at most 16 images")
	_, err = p.Complete(t.Context(), withImages(many[:3]...))
	wantRejected(t, err, "", "at most 50 MiB together")
}

func TestFetchEndsWithTheRequest(t *testing.T) {
	arrived := make(chan struct{})
	images := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
	}))
	defer images.Close()
	p, _ := fetching(t, images.Client())
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-arrived
		cancel()
	}()
	_, err := p.Complete(ctx, withImages(images.URL))
	wantClass(t, err, providers.Canceled)
}

// wantRejected checks for a refusal that names the parameter (empty: any).
func wantRejected(t *testing.T, err error, param, message string) *providers.Error {
	t.Helper()
	var e *providers.Error
	if !errors.As(err, &e) {
		t.Fatalf("%v is no *providers.Error", err)
	}
	if e.Class != providers.Rejected || param != "" && e.Param != param || !strings.Contains(e.Message, message) {
		t.Errorf("%+v, want a refusal of %s that says %q", e, param, message)
	}
	return e
}
