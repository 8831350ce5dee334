// Package usage keeps the ledger: one record for each attempt at an upstream,
// a hold while the upstream works, then final and never changed again.
package usage

import (
	"context"
	"errors"
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

	queue    chan *entry
	ctx      context.Context // of the writer's statements; ended by Close
	cancel   context.CancelFunc
	done     chan struct{} // closed when the writer has ended
	troubled atomic.Bool   // the database is away

	notices notices // of budgets that are nearly spent

	mu      sync.Mutex
	closed  bool
	senders sync.WaitGroup     // callers that may put something into the queue
	open    map[string]*opened // begun and not settled, by id
	journal *journal           // nil on PostgreSQL
	entries *sync.Pool

	// The writer's own.
	pace   pace
	tables *tables
}

// entry is one record on its way into the database.
type entry struct {
	rec     models.UsageRecord
	noted   bool        // it began in the journal, not in the table of holds
	gone    atomic.Bool // nobody waits for it any more
	tried   bool        // and perhaps committed
	known   bool        // its hold was there, when the writer looked
	refused error       // what it may cost does not fit into a budget
	done    chan error
}

// entries are used again, but for those whose callers have left.
func newEntries() *sync.Pool {
	return &sync.Pool{New: func() any { return &entry{done: make(chan error, 1)} }}
}

// New starts a ledger: its group-commit writer, which is its lease heartbeat
// too. End it with [Ledger.Close].
func New(db *storage.DB, log zerolog.Logger) *Ledger {
	l := &Ledger{
		db: db, log: log, now: time.Now,
		queue: make(chan *entry, queueSize), done: make(chan struct{}),
		open: make(map[string]*opened), journal: newJournal(db), entries: newEntries(),
		tables: newTables(),
	}
	l.ctx, l.cancel = context.WithCancel(context.Background()) //nolint:forbidigo // the writer outlives every request; Close ends it
	go l.run()
	return l
}

// Begin writes the record down as pending and returns when a death of this
// process cannot undo that. The caller owes it a [Ledger.Settle]; until then the ledger keeps its lease
// alive. Tokens and cost that the record carries are those that
// [Ledger.Recover] charges if this process dies. A zero CreatedAt becomes now,
// also in rec.
//
// When the record is Metered, what it Held is set aside in the balance and the
// budgets of its user and key, in one transaction with it. If it does not fit, the
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
	// While the database is away, a begin waits for it as a settlement does.
	if l.journal != nil && !rec.Metered && !l.troubled.Load() {
		return wrap("begin usage record", l.note(ctx, rec, now))
	}
	e := l.entry(rec)
	e.rec.Status, e.rec.SettledAt = models.UsagePending, nil
	if err := l.enqueue(ctx, e); err != nil {
		return fmt.Errorf("begin usage record: %w", err)
	}
	l.mu.Lock()
	l.open[rec.ID] = &opened{at: now}
	l.mu.Unlock()
	return nil
}

// note begins a record in the journal.
func (l *Ledger) note(ctx context.Context, rec *models.UsageRecord, now time.Time) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	o := &opened{at: now, lease: now.Add(leaseTTL), rec: new(models.UsageRecord)}
	*o.rec = *rec
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return shuttingDown()
	}
	l.journal.buf = appendBegin(l.journal.buf[:0], o.rec)
	if err := l.journal.write(l.journal.buf, l.open); err != nil {
		return err
	}
	l.open[rec.ID] = o
	return nil
}

// noted says whether something is open in the journal.
func (l *Ledger) noted() bool {
	for _, o := range l.open {
		if o.rec != nil {
			return true
		}
	}
	return false
}

func shuttingDown() error {
	return models.Unavailable(models.CodeShuttingDown, "The server is shutting down. Try again.")
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
	e := l.settlement(rec)
	if l.journal != nil {
		l.mu.Lock()
		o := l.open[rec.ID]
		e.noted = o != nil && o.rec != nil
		l.mu.Unlock()
	}
	noted := e.noted
	err := l.enqueue(ctx, e)
	if !noted || err != nil { // else the writer has seen to it
		l.mu.Lock()
		if o := l.open[rec.ID]; o != nil && o.rec != nil {
			o.forsaken = true
		} else {
			delete(l.open, rec.ID)
		}
		l.mu.Unlock()
	}
	if err != nil {
		return fmt.Errorf("settle usage record: %w", err)
	}
	return nil
}

func (l *Ledger) settlement(rec *models.UsageRecord) *entry {
	now := l.time()
	e := l.entry(rec)
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

func (l *Ledger) entry(rec *models.UsageRecord) *entry {
	e := l.entries.Get().(*entry)
	e.rec = *rec
	e.rec.CreatedAt = e.rec.CreatedAt.UTC().Truncate(time.Microsecond)
	e.noted, e.tried, e.known, e.refused = false, false, false, nil
	return e
}

// enqueue hands the entry to the writer and waits for its commit. The entry is
// not the caller's afterwards.
func (l *Ledger) enqueue(ctx context.Context, e *entry) error {
	if err := l.send(ctx, e); err != nil {
		return err
	}
	select {
	case err := <-e.done:
		l.entries.Put(e)
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
		return shuttingDown()
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
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(err, wrap("close the journal", l.journal.close(l.noted())))
}

func (l *Ledger) time() time.Time { return l.now().UTC().Truncate(time.Microsecond) }
