package rest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/coaidev/coai/graph"
	"github.com/coaidev/coai/models"
)

// channelFilter reads the parameters that narrow the list of channels.
func channelFilter(q url.Values) *models.ChannelFilter {
	f := &models.ChannelFilter{Model: stringParam(q, "model"), Tag: stringParam(q, "tag"), Group: stringParam(q, "group"), Q: stringParam(q, "q")}
	if t := q.Get("type"); t != "" {
		f.Type = (*models.ChannelType)(&t)
	}
	if s := q.Get("status"); s != "" {
		f.Status = (*models.ChannelStatus)(&s)
	}
	return f
}

// writeChannel answers with a channel, and with the tag of this state of it.
func writeChannel(w http.ResponseWriter, c *models.Channel) error {
	w.Header().Set("ETag", channelTag(c.UpdatedAt))
	return writeJSON(w, viewChannel(c))
}

func channelTag(updated time.Time) string {
	return `"` + base64.RawURLEncoding.EncodeToString([]byte(updated.UTC().Format(time.RFC3339Nano))) + `"`
}

// ifMatch is when the channel was changed last, by the If-Match header; nil without one.
// https://www.rfc-editor.org/rfc/rfc9110#name-if-match
func ifMatch(h http.Header) (*time.Time, error) {
	tag := strings.TrimSpace(h.Get("If-Match"))
	if tag == "" || tag == "*" {
		return nil, nil //nolint:nilnil // no condition
	}
	text, err := base64.RawURLEncoding.DecodeString(strings.Trim(tag, `"`))
	if err == nil {
		var at time.Time
		if at, err = time.Parse(time.RFC3339Nano, string(text)); err == nil {
			return &at, nil
		}
	}
	return nil, models.Invalid("If-Match", "'If-Match' must be the one ETag of the channel that this API gave out.")
}

func (h *handler) cloneChannel(w http.ResponseWriter, r *http.Request) error {
	in, err := decodeOptional[models.CloneChannelInput](h, w, r)
	if err != nil {
		return err
	}
	done, err := graph.Outcome(h.resolver.Mutation().CloneChannel(r.Context(), r.PathValue("id"), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeChannel(w, done.Channel)
}

func (h *handler) reorderChannels(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[models.ReorderChannelsInput](h, w, r)
	if err != nil {
		return err
	}
	done, err := graph.Outcome(h.resolver.Mutation().ReorderChannels(r.Context(), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	views := make([]any, len(done.Channels))
	for i, c := range done.Channels {
		views[i] = viewChannel(c)
	}
	return writeJSON(w, viewAll(views, nil))
}

type bulkView struct {
	Object   string   `json:"object"`
	Action   string   `json:"action"`
	Affected int      `json:"affected"`
	IDs      []string `json:"ids"`
}

// bulkChannels answers, when some channel cannot be changed, with the error of the
// first, and beside it with those of all.
func (h *handler) bulkChannels(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[models.BulkChannelsInput](h, w, r)
	if err != nil {
		return err
	}
	done, err := h.resolver.Mutation().BulkChannels(r.Context(), in)
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	if err := done.Err(); err != nil {
		if len(done.Failures) == 0 {
			return err //nolint:wrapcheck // a resolver's
		}
		e, _ := models.AsError(err)
		return writeFailures(r.Context(), w, e, done.Failures)
	}
	return writeJSON(w, &bulkView{"channel.bulk", string(in.Action), len(done.ChannelIDs), done.ChannelIDs})
}

func writeFailures(ctx context.Context, w http.ResponseWriter, e *models.Error, failures []models.BulkFailure) error {
	var body map[string]json.RawMessage
	if err := json.Unmarshal(encodeError(ctx, e), &body); err != nil {
		return err //nolint:wrapcheck // cannot fail: it was encoded here
	}
	list, err := json.Marshal(failures)
	if err != nil {
		return err //nolint:wrapcheck // as above
	}
	body["errors"] = list
	b, err := json.Marshal(body)
	if err != nil {
		return err //nolint:wrapcheck // as above
	}
	writeBytes(w, status(e.Kind), b)
	return nil
}

type channelModelsView struct {
	Object string `json:"object"`
	*models.ChannelModels
}

type channelSyncView struct {
	Object  string   `json:"object"`
	Added   []string `json:"added"`
	Removed []string `json:"removed"`
	Channel any      `json:"channel"`
}

func (h *handler) retrieveChannelModels(w http.ResponseWriter, r *http.Request) error {
	m, err := h.resolver.Query().ChannelModels(r.Context(), r.PathValue("id"))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, &channelModelsView{"channel.models", m})
}

func (h *handler) syncChannelModels(w http.ResponseWriter, r *http.Request) error {
	in, err := decodeOptional[models.SyncChannelModelsInput](h, w, r)
	if err != nil {
		return err
	}
	done, err := graph.Outcome(h.resolver.Mutation().SyncChannelModels(r.Context(), r.PathValue("id"), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, &channelSyncView{"channel.sync", done.Added, done.Removed, viewChannel(done.Channel)})
}

// testChannel answers with one outcome, with a list when several models were asked
// for, or with events.
func (h *handler) testChannel(w http.ResponseWriter, r *http.Request) error {
	in, err := decodeOptional[models.TestChannelInput](h, w, r)
	if err != nil {
		return err
	}
	if wantsEvents(r, in) {
		return stream(h, w, r, openAI(), func(ctx context.Context) (*graph.Feed[*models.TestChannelResult], error) {
			return h.resolver.StreamChannelTest(ctx, r.PathValue("id"), in)
		})
	}
	done, err := graph.Outcome(h.resolver.Mutation().TestChannel(r.Context(), r.PathValue("id"), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	if !in.Several() {
		return writeJSON(w, done.Result)
	}
	data := make([]any, len(done.Results))
	for i, result := range done.Results {
		data[i] = result
	}
	return writeJSON(w, viewAll(data, nil))
}

func wantsEvents(r *http.Request, in *models.TestChannelInput) bool {
	if in != nil && in.Stream != nil {
		return *in.Stream
	}
	accept, _, _ := mime.ParseMediaType(r.Header.Get("Accept"))
	return accept == "text/event-stream"
}
