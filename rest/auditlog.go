package rest

import (
	"net/http"
	"net/url"
	"time"

	"github.com/coaidev/coai/models"
)

type auditEntryView struct {
	Object string `json:"object"`
	*models.AuditEntry
	CreatedAt time.Time `json:"created_at"`
}

func viewAuditEntry(e *models.AuditEntry) any {
	return &auditEntryView{Object: "audit_log", AuditEntry: e, CreatedAt: e.CreatedAt}
}

func (h *handler) listAuditLogs(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	p, err := parsePage(q)
	if err != nil {
		return err
	}
	filter := &models.AuditFilter{
		ActorID: stringParam(q, "actor_id"), Action: stringParam(q, "action"),
		TargetType: stringParam(q, "target_type"), TargetID: stringParam(q, "target_id"),
	}
	if filter.Since, err = momentParam(q, "since"); err != nil {
		return err
	}
	if filter.Until, err = momentParam(q, "until"); err != nil {
		return err
	}
	first, after, last, before := p.args()
	page, err := h.resolver.Query().AuditLog(r.Context(), first, after, last, before, p.order, filter)
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	l, err := viewList(r.Context(), p, page, func(e *models.AuditEntry) string { return e.ID }, viewAuditEntry)
	if err != nil {
		return err
	}
	return writeJSON(w, l)
}

// momentParam is a date or a time; nil: absent.
func momentParam(q url.Values, name string) (*time.Time, error) {
	if q.Get(name) == "" {
		return nil, nil //nolint:nilnil // absent
	}
	t, err := dateParam(q, name)
	return &t, err
}
