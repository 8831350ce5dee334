package channels

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/coaidev/coai/internal/providers/ollama"
	"github.com/coaidev/coai/models"
)

// detectTimeout is how long a first start waits for an Ollama to list its
// models. Where there is none the connection is refused at once.
const detectTimeout = 500 * time.Millisecond

// findOllama asks an Ollama for its models, at a first start only. That there is
// none is no failure.
func (r *Registry) findOllama(ctx context.Context, found *Upstreams) error {
	found.ollamaModels = nil
	if found.OllamaURL == "" {
		return nil
	}
	revision, err := r.db.Revision(ctx, topic)
	if err != nil || revision > 0 {
		return err //nolint:wrapcheck // the caller's to wrap
	}
	transport, err := r.transport(&models.ChannelSettings{})
	if err != nil {
		return err
	}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, detectTimeout)
	defer cancel()
	names, err := ollama.New(ollama.Config{BaseURL: found.OllamaURL}, &http.Client{Transport: transport}).Models(ctx)
	if err != nil {
		r.log.Debug().Err(err).Msg("no Ollama found")
		return nil
	}
	slices.Sort(names)
	found.ollamaModels = usable(slices.Compact(names))
	return nil
}

// usable are the names that a channel can serve.
func usable(names []string) []string {
	var list []string
	for _, name := range names {
		probe := models.Channel{Name: "Ollama", Type: models.ChannelEcho, Models: []string{name}, Weight: 1}
		if probe.Validate() == nil && len(list) < 1000 {
			list = append(list, name)
		}
	}
	return list
}
