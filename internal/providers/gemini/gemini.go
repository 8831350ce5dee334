// Package gemini speaks Google's Gemini API: OpenAI's requests are translated
// into its language, and its answers back.
// https://ai.google.dev/api/generate-content
//
// What has no counterpart in OpenAI's language travels as extra members:
//
//   - A thought signature goes out with the tool call or message that it came
//     with, as extra_content.google.thought_signature, and is sent back to the
//     upstream when a client returns it there. Models from Gemini 3 on refuse a
//     call without one, so a call whose client has lost it gets the word that
//     Google gives out for this. https://ai.google.dev/gemini-api/docs/thought-signatures
//   - Thoughts are reasoning_content; images are images, as OpenRouter has them:
//     [{"type":"image_url","image_url":{"url":"data:..."}}].
//   - top_k, safety_settings, and google or extra_body.google with
//     thinking_config and safety_settings are passed on.
//
// reasoning_effort becomes a thinking level for models from Gemini 3 on (minimal
// and low are low, high and xhigh are high), and for older ones a budget of
// tokens: minimal and low 1,024, medium 8,192, high and xhigh 24,576. none is a
// budget of 0, which not every model takes. Thoughts are asked for with it.
package gemini

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/coaidev/coai/internal/providers"
	"github.com/coaidev/coai/internal/providers/upstream"
	"github.com/coaidev/coai/models"
)

// Config says how one upstream is reached.
type Config struct {
	BaseURL          string            // such as https://generativelanguage.googleapis.com; /v1beta is added unless it names a version
	APIKey           string            // sent as x-goog-api-key unless empty
	Headers          map[string]string // sent with each request, instead of ours of the same name
	FirstByteTimeout time.Duration     // until the first byte of the answer's body; default 5 min
	IdleTimeout      time.Duration     // of silence inside an answer; default 2 min
	MaxBytes         int               // of an answer that is not streamed, default 64 MiB; also caps the 16 MiB of one event
	// DropUnsupported leaves out what Gemini has no word for. Without it such a
	// parameter is refused.
	DropUnsupported bool
	// Files fetches the images that requests name by URL: whoever can send a
	// request decides where it goes, so it must reach public addresses alone. Nil:
	// such images are refused.
	Files *http.Client
}

// Provider is one upstream.
type Provider struct {
	client *upstream.Client
	base   *url.URL // with the version; nil when the base URL is none
	drop   bool
	files  *http.Client
}

var version = regexp.MustCompile(`(?:^|/)v[0-9][0-9a-z]*(?:/|$)`)

// New makes a provider that sends its requests through client's transport.
// Redirects are not followed. An invalid base URL makes every request fail.
func New(cfg Config, client *http.Client) *Provider {
	p := &Provider{drop: cfg.DropUnsupported, files: fileClient(cfg.Files)}
	secrets := []string{cfg.APIKey}
	if u, err := url.Parse(cfg.BaseURL); err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http") {
		secrets = append(secrets, u.Host)
		if u.Path == "" {
			u.Path = "/" // else the joined path is relative
		}
		if !version.MatchString(u.Path) {
			u = u.JoinPath("v1beta")
		}
		p.base = u
	}
	header := http.Header{}
	if cfg.APIKey != "" {
		header.Set("X-Goog-Api-Key", cfg.APIKey)
	}
	p.client = upstream.New(upstream.Config{
		Header: header, Extra: cfg.Headers, Secrets: secrets, MaxBytes: cfg.MaxBytes,
		FirstByteTimeout: cfg.FirstByteTimeout, IdleTimeout: cfg.IdleTimeout,
	}, client)
	return p
}

// Complete implements [providers.Provider].
func (p *Provider) Complete(ctx context.Context, req providers.Request) (*models.ChatCompletion, error) {
	ex, err := p.generate(ctx, req, "generateContent", "")
	if err != nil {
		return nil, err
	}
	defer ex.Close()
	raw, err := p.readJSON(ex)
	if err != nil {
		return nil, err
	}
	return p.completion(req, raw)
}

// Stream implements [providers.Provider]. It returns when the upstream's
// headers are there.
func (p *Provider) Stream(ctx context.Context, req providers.Request) (providers.Stream, error) {
	ex, err := p.generate(ctx, req, "streamGenerateContent", "alt=sse")
	if err != nil {
		return nil, err
	}
	st, err := p.openStream(ex, req)
	if err != nil {
		ex.Close()
		return nil, err
	}
	return st, nil
}

// generate translates and posts a request for a completion.
func (p *Provider) generate(ctx context.Context, req providers.Request, method, query string) (*upstream.Exchange, error) {
	body, err := p.translate(ctx, req)
	if err != nil {
		return nil, err
	}
	accept := "application/json"
	if query != "" {
		accept = "text/event-stream"
	}
	return p.post(ctx, names{upstream: req.Model, client: req.Input.Model}, method, query, accept, body)
}

// names are those of the model asked for.
type names struct{ upstream, client string }

// post sends a request to a method of a model. On success the exchange holds an
// answer of status 2xx.
func (p *Provider) post(ctx context.Context, model names, method, query, accept string, body any) (*upstream.Exchange, error) {
	u, failure := p.url(model.upstream, method)
	if failure != nil {
		return nil, failure
	}
	u.RawQuery = query
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, &providers.Error{
			Class: providers.Rejected, Code: models.CodeInvalidValue,
			Message: "The request cannot be sent to the upstream.", Cause: err,
		}
	}
	ex, err := p.client.Send(ctx, upstream.Request{URL: u, Accept: accept, Body: raw})
	if err != nil {
		return nil, err
	}
	if ex.Status/100 != 2 {
		defer ex.Close()
		return nil, p.statusError(model, ex)
	}
	return ex, nil
}

// url is where a method of a model is: a name with slashes is a whole resource
// name, such as tunedModels/mine.
func (p *Provider) url(model, method string) (*url.URL, *providers.Error) {
	if p.base == nil {
		return nil, &providers.Error{Class: providers.Unavailable, Message: "The channel's base URL is not valid."}
	}
	segments := strings.Split(resource(model), "/")
	for i, s := range segments {
		if s == "" || s == "." || s == ".." {
			return nil, &providers.Error{Class: providers.NoModel, Message: "The upstream does not know the model."}
		}
		segments[i] = url.PathEscape(s)
	}
	segments[len(segments)-1] += ":" + method
	return p.base.JoinPath(segments...), nil
}

func resource(model string) string {
	if strings.Contains(model, "/") {
		return model
	}
	return "models/" + model
}

// readJSON reads a whole answer of type JSON.
func (p *Provider) readJSON(ex *upstream.Exchange) ([]byte, error) {
	return ex.ReadJSON(p.client.MaxBytes())
}

func invalid(param, message string) *providers.Error {
	return &providers.Error{Class: providers.Rejected, Code: models.CodeInvalidValue, Param: param, Message: message}
}

func unsupported(param, message string) *providers.Error {
	return &providers.Error{Class: providers.Rejected, Code: models.CodeUnsupportedParameter, Param: param, Message: message}
}
