package rest

import (
	"net/http"
	"time"

	"github.com/coaidev/coai/graph"
	"github.com/coaidev/coai/models"
)

type jobView struct {
	Object string `json:"object"`
	*models.Job
	StartedAt   *time.Time `json:"started_at"`
	FinishedAt  *time.Time `json:"finished_at"`
	DurationMS  *int       `json:"duration_ms"`
	NextAt      time.Time  `json:"next_at"`
	RequestedAt *time.Time `json:"requested_at"`
}

func viewJob(j *models.Job) any {
	return &jobView{"job", j, j.StartedAt, j.FinishedAt, j.DurationMS(), j.NextAt(), j.RequestedAt}
}

func (h *handler) listJobs(w http.ResponseWriter, r *http.Request) error {
	jobs, err := h.resolver.Query().Jobs(r.Context())
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	data := make([]any, len(jobs))
	for i, j := range jobs {
		data[i] = viewJob(j)
	}
	return writeJSON(w, viewAll(data, nil))
}

func (h *handler) runJob(w http.ResponseWriter, r *http.Request) error {
	done, err := graph.Outcome(h.resolver.Mutation().RunJob(r.Context(), r.PathValue("name")))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, viewJob(done.Job))
}
