package models

import (
	"time"

	"github.com/uptrace/bun"
)

// JobOutcome is what became of a job's last run.
type JobOutcome string

// The outcomes.
const (
	JobRunning JobOutcome = "running"
	JobOK      JobOutcome = "ok"
	JobFailed  JobOutcome = "failed"
)

// Job is work that is done again and again, and its last run.
type Job struct {
	bun.BaseModel `bun:"table:jobs,alias:j" json:"-"`

	Name            string      `bun:"name,pk" json:"name"`
	Description     string      `bun:"description" json:"description"`
	IntervalSeconds int         `bun:"interval_seconds" json:"interval_seconds"`
	Outcome         *JobOutcome `bun:"outcome" json:"outcome"` // of the last run; nil: it never ran
	Error           *string     `bun:"error" json:"error"`
	Worker          *string     `bun:"worker" json:"worker"` // the process that ran it
	StartedAt       *time.Time  `bun:"started_at" json:"-"`
	FinishedAt      *time.Time  `bun:"finished_at" json:"-"`
	RequestedAt     *time.Time  `bun:"requested_at" json:"-"` // somebody asked for a run that has not begun
	RegisteredAt    time.Time   `bun:"registered_at" json:"-"`
}

// DurationMS is how long the last run took; nil while it runs.
func (j *Job) DurationMS() *int {
	if j.StartedAt == nil || j.FinishedAt == nil || j.FinishedAt.Before(*j.StartedAt) {
		return nil
	}
	ms := int(j.FinishedAt.Sub(*j.StartedAt).Milliseconds())
	return &ms
}

// NextAt is when the next run is due.
func (j *Job) NextAt() time.Time {
	every := time.Duration(max(j.IntervalSeconds, 1)) * time.Second
	return time.Now().UTC().Truncate(every).Add(every)
}

// RunJobPayload answers runJob.
type RunJobPayload struct {
	Payload
	Job *Job
}

// UsageThreshold is the payload of usage.threshold_reached.
type UsageThreshold struct {
	Object   string     `json:"object"` // budget
	UserID   string     `json:"user_id"`
	APIKeyID *string    `json:"api_key_id"` // null: the budget is the account's
	Period   Period     `json:"period"`
	Percent  int        `json:"percent"` // the threshold
	Limit    Money      `json:"limit"`
	Spent    Money      `json:"spent"`
	ResetsAt *time.Time `json:"resets_at"`
}
