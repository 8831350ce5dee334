package rest

import (
	"net/http"
	"time"

	"github.com/coaidev/coai/graph"
	"github.com/coaidev/coai/models"
)

type invitationView struct {
	Object string `json:"object"`
	*models.Invitation
	CreatedAt  time.Time  `json:"created_at"`
	ExpiresAt  time.Time  `json:"expires_at"`
	AcceptedAt *time.Time `json:"accepted_at"`
	Token      *string    `json:"token,omitzero"` // when it is made
}

func viewInvitation(i *models.Invitation, token *string) any {
	return &invitationView{
		Object: "invitation", Invitation: i, CreatedAt: i.CreatedAt, ExpiresAt: i.ExpiresAt, AcceptedAt: i.AcceptedAt, Token: token,
	}
}

func (h *handler) listInvitations(w http.ResponseWriter, r *http.Request) error {
	p, err := parsePage(r.URL.Query())
	if err != nil {
		return err
	}
	first, after, last, before := p.args()
	page, err := h.resolver.Query().Invitations(r.Context(), first, after, last, before, p.order)
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	l, err := viewList(r.Context(), p, page, func(i *models.Invitation) string { return i.ID },
		func(i *models.Invitation) any { return viewInvitation(i, nil) })
	if err != nil {
		return err
	}
	return writeJSON(w, l)
}

func (h *handler) createInvitation(w http.ResponseWriter, r *http.Request) error {
	in, err := decodeOptional[models.CreateInvitationInput](h, w, r)
	if err != nil {
		return err
	}
	if in == nil {
		in = new(models.CreateInvitationInput)
	}
	done, err := graph.Outcome(h.resolver.Mutation().CreateInvitation(r.Context(), *in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, viewInvitation(done.Invitation, done.Token))
}

func (h *handler) deleteInvitation(w http.ResponseWriter, r *http.Request) error {
	done, err := graph.Outcome(h.resolver.Mutation().DeleteInvitation(r.Context(), r.PathValue("id")))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, deletedView{ID: *done.DeletedInvitationID, Object: "invitation", Deleted: true})
}
