package rest

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/coaidev/coai/graph"
	"github.com/coaidev/coai/models"
)

// conversationView is a conversation with its newest messages.
type conversationView struct {
	*models.ConversationView
	Messages *list `json:"messages"`
}

func (h *handler) listConversations(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	p, err := parsePage(q)
	if err != nil {
		return err
	}
	filter := &models.ConversationFilter{Search: stringParam(q, "q"), Model: stringParam(q, "model"), Metadata: metadataParam(q)}
	if s := stringParam(q, "status"); s != nil {
		filter.Status = (*models.ConversationStatus)(s)
	}
	order := &models.ConversationOrder{Direction: p.order, Field: (*models.ConversationOrderField)(stringParam(q, "sort"))}
	first, after, last, before := p.args()
	page, err := h.resolver.Query().Conversations(r.Context(), first, after, last, before, order, filter)
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	l, err := viewList(r.Context(), p, page,
		func(c *models.Conversation) string { return c.ID }, func(c *models.Conversation) any { return c.View() })
	if err != nil {
		return err
	}
	return writeJSON(w, l)
}

// metadataParam reads metadata[name]=value.
func metadataParam(q url.Values) models.Metadata {
	m := models.Metadata{}
	for name, values := range q {
		if key, ok := strings.CutPrefix(name, "metadata["); ok && strings.HasSuffix(key, "]") {
			m[strings.TrimSuffix(key, "]")] = values[0]
		}
	}
	return m
}

// createConversation begins a conversation.
// https://platform.openai.com/docs/api-reference/conversations/create
func (h *handler) createConversation(w http.ResponseWriter, r *http.Request) error {
	in, err := decodeOptional[models.CreateConversationInput](h, w, r)
	if err != nil {
		return err
	}
	if in == nil {
		in = new(models.CreateConversationInput)
	}
	done, err := graph.Outcome(h.resolver.Mutation().CreateConversation(r.Context(), *in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, done.Conversation.View())
}

func (h *handler) retrieveConversation(w http.ResponseWriter, r *http.Request) error {
	c, err := h.resolver.Query().Conversation(r.Context(), r.PathValue("id"))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	p := pageQuery{limit: models.DefaultPageSize}
	page, err := h.resolver.Conversation().Messages(r.Context(), c, &p.limit, nil, nil, nil, nil, nil, nil)
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	messages, err := viewList(r.Context(), p, page, messageID, viewMessage)
	if err != nil {
		return err
	}
	return writeJSON(w, &conversationView{c.View(), messages})
}

func (h *handler) updateConversation(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[models.UpdateConversationInput](h, w, r)
	if err != nil {
		return err
	}
	done, err := graph.Outcome(h.resolver.Mutation().UpdateConversation(r.Context(), r.PathValue("id"), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, done.Conversation.View())
}

func (h *handler) deleteConversation(w http.ResponseWriter, r *http.Request) error {
	done, err := graph.Outcome(h.resolver.Mutation().DeleteConversation(r.Context(), r.PathValue("id")))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, deletedView{ID: *done.DeletedConversationID, Object: "conversation.deleted", Deleted: true})
}

type shareView struct {
	Object         string `json:"object"`
	ConversationID string `json:"conversation_id"`
	Token          string `json:"token"`
	Path           string `json:"path"`
	CreatedAt      int64  `json:"created_at"`
	ExpiresAt      *int64 `json:"expires_at"`
}

func (h *handler) shareConversation(w http.ResponseWriter, r *http.Request) error {
	in, err := decodeOptional[models.ShareConversationInput](h, w, r)
	if err != nil {
		return err
	}
	done, err := graph.Outcome(h.resolver.Mutation().ShareConversation(r.Context(), r.PathValue("id"), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	s := done.Share
	view := &shareView{
		Object: "conversation.share", ConversationID: s.ConversationID, Token: s.Token, Path: s.Path(), CreatedAt: s.CreatedAt.Unix(),
	}
	if s.ExpiresAt != nil {
		at := s.ExpiresAt.Unix()
		view.ExpiresAt = &at
	}
	return writeJSON(w, view)
}

func (h *handler) unshareConversation(w http.ResponseWriter, r *http.Request) error {
	done, err := graph.Outcome(h.resolver.Mutation().UnshareConversation(r.Context(), r.PathValue("id")))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, deletedView{ID: done.Conversation.ID, Object: "conversation.share.deleted", Deleted: true})
}

type sharedView struct {
	Object string `json:"object"`
	*models.SharedConversation
}

// retrieveShared shows what a link shows, to anybody who has it.
func (h *handler) retrieveShared(w http.ResponseWriter, r *http.Request) error {
	shared, err := h.resolver.Query().SharedConversation(r.Context(), r.PathValue("token"))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	w.Header().Set("X-Robots-Tag", "noindex")
	w.Header().Set("Referrer-Policy", "no-referrer")
	return writeJSON(w, &sharedView{"conversation.shared", shared})
}

// exportConversation writes a conversation out as it is read. What is wrong after
// that has begun cuts the answer off.
func (h *handler) exportConversation(w http.ResponseWriter, r *http.Request) error {
	format := models.ExportFormat(r.URL.Query().Get("format"))
	if format == "" {
		format = models.ExportJSON
	}
	id := r.PathValue("id")
	out := &download{w: w, contentType: "application/json", name: id + ".json"}
	if format == models.ExportMarkdown {
		out.contentType, out.name = "text/markdown; charset=utf-8", id+".md"
	}
	err := h.resolver.ExportConversation(r.Context(), id, format, out)
	if err != nil && out.began {
		panic(http.ErrAbortHandler) // the client must not take a part for the whole
	}
	return err //nolint:wrapcheck // a resolver's
}
