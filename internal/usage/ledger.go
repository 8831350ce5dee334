// Package usage keeps the ledger: one record for each attempt at an upstream,
// a hold while the upstream works, then final and never changed again.
package usage

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

const (
	// leaseTTL is how long a pending record belongs to its process without a
	// sign of life; leaseBeat is the time between two signs.
	leaseTTL  = 60 * time.Second
	leaseBeat = 20 * time.Second
	// checkpointBeat is the time between two notes of what streams have produced.
	checkpointBeat = 5 * time.Second
	// A record that is open for longer has been forgotten by its caller: its
	// lease is left to run out.
	openAtMost = 24 * time.Hour

	queueSize = 4096
	batchSize = 500

	// clientClosed is the error code of a record whose client left.
	clientClosed = "client_closed_request"
)

// Ledger writes usage records. Concurrent callers share transactions: while
// one commits, the next gathers. It is safe for concurrent use.
type Ledger struct {
	db  *storage.DB
	log zerolog.Logger
	now func() time.Time

	queue  chan *entry
	ctx    context.Context // of the writer's statements; ended by Close
	cancel context.CancelFunc
	done   chan struct{} // closed when the writer has ended

	notices notices // of budgets that are nearly spent

	mu      sync.Mutex
	closed  bool
	senders sync.WaitGroup     // callers that may put something into the queue
	open    map[string]*opened // begun and not settled, by id

	// The writer's own, with the arguments it reuses.
	insertHolds, insertRecords, deleteHolds *statement
	args                                    []any
}

// entry is one record on its way into the database.
type entry struct {
	rec     models.UsageRecord
	gone    atomic.Bool // nobody waits for it any more
	tried   bool        // and perhaps committed
	known   bool        // its hold was there, when the writer looked
	refused error       // what it may cost does not fit into a budget
	done    chan error
}

// New starts a ledger: its group-commit writer, which is its lease heartbeat
// too. End it with [Ledger.Close].
func New(db *storage.DB, log zerolog.Logger) *Ledger {
	l := &Ledger{
		db: db, log: log, now: time.Now,
		queue: make(chan *entry, queueSize), done: make(chan struct{}),
		open:          make(map[string]*opened),
		insertHolds:   insertStatement("usage_holds", holdColumns),
		insertRecords: insertStatement("usage_records", recordColumns),
		// One that was given a budget while it ran needs more than this.
		deleteHolds: newStatement("DELETE FROM usage_holds WHERE NOT metered AND id IN (", 1, ")"),
	}
	l.ctx, l.cancel = context.WithCancel(context.Background()) //nolint:forbidigo // the writer outlives every request; Close ends it
	go l.run()
	return l
}

// Begin inserts the record as pending and returns when that is committed. The
// caller owes it a [Ledger.Settle]; until then the ledger keeps its lease
// alive. Tokens and cost that the record carries are those that
// [Ledger.Recover] charges if this process dies. A zero CreatedAt becomes now,
// also in rec.
//
// When the record is Metered, what it Held is set aside in the balance and the
// budgets of its user and key, in the same transaction. If it does not fit, the
// error is a *models.Error with the code insufficient_quota or budget_exceeded,
// and nobody owes anything.
//
// When ctx ends first, the error is that of ctx, nobody owes anything, and a
// record that was written all the same is settled as one that the client left,
// without tokens and cost. After [Ledger.Close] the error is a *models.Error
// with the code shutting_down.
func (l *Ledger) Begin(ctx context.Context, rec *models.UsageRecord) error {
	now := l.time()
	if rec.CreatedAt.IsZero() {
		rec.CreatedAt = now
	}
	e := newEntry(rec)
	e.rec.Status, e.rec.SettledAt = models.UsagePending, nil
	if err := l.enqueue(ctx, e); err != nil {
		return fmt.Errorf("begin usage record: %w", err)
	}
	l.mu.Lock()
	l.open[rec.ID] = &opened{at: now}
	l.mu.Unlock()
	return nil
}

// Settle writes the outcome: status, error code, tokens, cost and times. What
// was held is given back, and the cost charged, in the same transaction. It
// returns when that is committed. It counts exactly once: a second call, or one
// after [Ledger.Recover], succeeds and changes nothing. It works even when the
// record was never begun. A zero CreatedAt or SettledAt becomes now.
//
// When ctx ends while the record waits for its commit, the error is that of
// ctx, and the record is still written unless the database is away. After an
// error the record is left to Recover, unless the caller settles it again.
// After [Ledger.Close] the error is a *models.Error with the code shutting_down.
func (l *Ledger) Settle(ctx context.Context, rec *models.UsageRecord) error {
	err := l.enqueue(ctx, l.settlement(rec))
	l.mu.Lock()
	delete(l.open, rec.ID)
	l.mu.Unlock()
	if err != nil {
		return fmt.Errorf("settle usage record: %w", err)
	}
	return nil
}

func (l *Ledger) settlement(rec *models.UsageRecord) *entry {
	now := l.time()
	e := newEntry(rec)
	e.rec.Status = models.UsageSettled
	if e.rec.SettledAt != nil {
		now = e.rec.SettledAt.UTC().Truncate(time.Microsecond)
	}
	e.rec.SettledAt = &now
	if e.rec.CreatedAt.IsZero() {
		e.rec.CreatedAt = now
	}
	return e
}

func newEntry(rec *models.UsageRecord) *entry {
	e := &entry{rec: *rec, done: make(chan error, 1)}
	e.rec.CreatedAt = e.rec.CreatedAt.UTC().Truncate(time.Microsecond)
	return e
}

// enqueue hands the entry to the writer and waits for its commit.
func (l *Ledger) enqueue(ctx context.Context, e *entry) error {
	if err := l.send(ctx, e); err != nil {
		return err
	}
	select {
	case err := <-e.done:
		return err
	case <-ctx.Done():
		e.gone.Store(true)
		if e.rec.Status == models.UsagePending {
			l.void(e.rec)
		}
		return ctx.Err()
	}
}

func (l *Ledger) send(ctx context.Context, e *entry) error {
	if !l.admit() {
		return models.Unavailable(models.CodeShuttingDown, "The server is shutting down. Try again.")
	}
	defer l.senders.Done()
	select {
	case l.queue <- e:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// void settles a record whose caller left before it had begun. It does not
// wait: should the queue be full, Recover closes the record later.
func (l *Ledger) void(rec models.UsageRecord) {
	rec.ErrorCode = clientClosed
	rec.PromptTokens, rec.CompletionTokens, rec.CachedTokens, rec.ReasoningTokens = 0, 0, 0, 0
	rec.Cost, rec.Estimated = 0, false
	e := l.settlement(&rec)
	e.gone.Store(true)
	if !l.admit() {
		return
	}
	defer l.senders.Done()
	select {
	case l.queue <- e:
	default:
	}
}

// admit lets a caller use the queue, until the ledger is closed. The caller
// then ends with senders.Done.
func (l *Ledger) admit() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.senders.Add(1)
	return true
}

// Close refuses new records, writes all that it has taken, and stops. Settle
// what is open before: an open record is left to Recover. When ctx ends first,
// Close gives up what is not written, and its callers get an error; so does
// Close.
func (l *Ledger) Close(ctx context.Context) error {
	l.mu.Lock()
	first := !l.closed
	l.closed = true
	l.mu.Unlock()
	if first {
		go func() {
			l.senders.Wait()
			close(l.queue)
		}()
	}
	var err error
	select {
	case <-l.done:
	case <-ctx.Done():
		err = fmt.Errorf("flush usage records: %w", ctx.Err())
	}
	l.cancel()
	<-l.done
	return err
}

func (l *Ledger) time() time.Time { return l.now().UTC().Truncate(time.Microsecond) }
