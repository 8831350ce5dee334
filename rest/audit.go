package rest

import (
	"net/http"
	"net/url"
	"time"

	"github.com/coaidev/coai/models"
)

// listUsageAudit takes start_date and end_date as ISO 8601 dates, which are
// midnight UTC, or as times.
func (h *handler) listUsageAudit(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	start, err := dateParam(q, "start_date")
	if err != nil {
		return err
	}
	end, err := dateParam(q, "end_date")
	if err != nil {
		return err
	}
	var channel *string
	if id := q.Get("channel_id"); id != "" {
		channel = &id
	}
	rows, err := h.resolver.Query().UsageAudit(r.Context(), start, end, channel)
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	data := make([]any, len(rows))
	for i, a := range rows {
		data[i] = &auditView{
			Object: "usage.audit", UsageAudit: a, Day: a.Day.Format(time.DateOnly),
			DeltaTokens: a.DeltaTokens(), DeltaPercent: a.DeltaPercent(), Cost: a.Cost(),
		}
	}
	return writeJSON(w, viewAll(data, nil))
}

func dateParam(q url.Values, name string) (time.Time, error) {
	s := q.Get(name)
	if s == "" {
		return time.Time{}, models.Missing(name)
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, models.Invalid(name, "'%s' must be a date such as 2026-01-31 or a time such as 2026-01-31T12:00:00Z.", name)
}
