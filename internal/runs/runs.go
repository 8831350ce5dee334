// Package runs is the book of the periodic jobs: what there is, what became of the
// last run of each, and which somebody wants to have run now.
package runs

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/internal/audit"
	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

// maxError is how much of a failure is kept.
const maxError = 2000

// Book keeps the book in a database. It is safe for concurrent use.
type Book struct {
	db  *storage.DB
	now func() time.Time
}

// New makes a book.
func New(db *storage.DB) *Book { return &Book{db: db, now: time.Now} }

func (b *Book) time() time.Time { return b.now().UTC().Truncate(time.Microsecond) }

// Jobs are all jobs, by name. Scope: admin.
func (b *Book) Jobs(ctx context.Context, v *models.Viewer) ([]*models.Job, error) {
	if err := v.Require(models.ScopeAdmin); err != nil {
		return nil, err
	}
	list := []*models.Job{}
	if err := b.db.Read().NewSelect().Model(&list).OrderExpr("name").Scan(ctx); err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	return list, nil
}

// RunJob asks for a run, as soon as a process that runs jobs has seen it: within
// seconds. Asking again before that changes nothing. Scope: admin.
func (b *Book) RunJob(ctx context.Context, v *models.Viewer, name string) (*models.RunJobPayload, error) {
	if err := v.Require(models.ScopeAdmin); err != nil {
		return nil, err
	}
	j := new(models.Job)
	err := sql.ErrNoRows
	if storage.Storable(name) {
		err = b.db.Tx(ctx, func(ctx context.Context, tx bun.Tx) error {
			err := tx.NewRaw("UPDATE jobs SET requested_at = COALESCE(requested_at, ?) WHERE name = ? RETURNING *", b.time(), name).Scan(ctx, j)
			if err != nil {
				return err
			}
			return audit.Append(ctx, tx, v, "job.run", audit.Target{Type: "job", ID: name}, nil, nil)
		})
	}
	if errors.Is(err, sql.ErrNoRows) {
		e := models.NotFound("job", name)
		e.Param = "name"
		return nil, e
	}
	if err != nil {
		return nil, fmt.Errorf("ask for a run: %w", err)
	}
	return &models.RunJobPayload{Job: j}, nil
}

// Register writes down which jobs there are. Those that no process has registered
// for a day are forgotten: a version of the product had them that is gone.
func (b *Book) Register(ctx context.Context, jobs []models.Job) error {
	now := b.time()
	for i := range jobs {
		jobs[i].RegisteredAt = now
		_, err := b.db.Write().NewInsert().Model(&jobs[i]).On("CONFLICT (name) DO UPDATE").
			Set("description = EXCLUDED.description").Set("interval_seconds = EXCLUDED.interval_seconds").
			Set("registered_at = EXCLUDED.registered_at").Exec(ctx)
		if err != nil {
			return fmt.Errorf("register job %s: %w", jobs[i].Name, err)
		}
	}
	_, err := b.db.Write().NewDelete().Model((*models.Job)(nil)).Where("registered_at < ?", now.Add(-24*time.Hour)).Exec(ctx)
	if err != nil {
		return fmt.Errorf("forget jobs: %w", err)
	}
	return nil
}

// Begin writes down that a run begins.
func (b *Book) Begin(ctx context.Context, name, worker string, at time.Time) error {
	return b.update(ctx, b.db.Write().NewUpdate().Model((*models.Job)(nil)).
		Set("outcome = ?", models.JobRunning).Set("error = NULL").Set("worker = ?", worker).
		Set("started_at = ?", stored(at)).Set("finished_at = NULL").Where("name = ?", name))
}

// End writes down what became of a run, and that its job still exists.
func (b *Book) End(ctx context.Context, name, worker string, began time.Time, failure error) error {
	outcome, text := models.JobOK, (*string)(nil)
	if failure != nil {
		message := strings.ToValidUTF8(strings.ReplaceAll(failure.Error(), "\x00", ""), "")
		if len(message) > maxError {
			message = strings.ToValidUTF8(message[:maxError], "") + "…"
		}
		outcome, text = models.JobFailed, &message
	}
	now := b.time()
	return b.update(ctx, b.db.Write().NewUpdate().Model((*models.Job)(nil)).
		Set("outcome = ?", outcome).Set("error = ?", text).Set("finished_at = ?", now).Set("registered_at = ?", now).
		Where("name = ?", name).Where("worker = ?", worker).Where("started_at = ?", stored(began)))
}

// Requested gives the jobs that somebody wants to have run, and takes them over:
// nobody else gets them.
func (b *Book) Requested(ctx context.Context) ([]string, error) {
	var names []string
	err := b.db.Read().NewSelect().Model((*models.Job)(nil)).Column("name").Where("requested_at IS NOT NULL").OrderExpr("name").Scan(ctx, &names)
	if err != nil {
		return nil, fmt.Errorf("find requested jobs: %w", err)
	}
	var mine []string
	for _, name := range names {
		res, err := b.db.Write().NewUpdate().Model((*models.Job)(nil)).Set("requested_at = NULL").
			Where("name = ?", name).Where("requested_at IS NOT NULL").Exec(ctx)
		if err != nil {
			return mine, fmt.Errorf("take a requested job: %w", err)
		}
		if n, err := res.RowsAffected(); err == nil && n == 1 {
			mine = append(mine, name)
		}
	}
	return mine, nil
}

func (b *Book) update(ctx context.Context, q *bun.UpdateQuery) error {
	if _, err := q.Exec(ctx); err != nil {
		return fmt.Errorf("write down a job's run: %w", err)
	}
	return nil
}

func stored(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }
