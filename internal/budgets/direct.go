package budgets

import (
	"database/sql/driver"
	"fmt"
	"slices"
	"time"

	"github.com/coaidev/coai/internal/storage"
	"github.com/coaidev/coai/models"
)

// The same as [Lock] and [Book.Save], for SQLite's writer.
const (
	anyBudget    = "SELECT EXISTS (SELECT 1 FROM budgets)"
	readBudgets  = "SELECT period, amount, spent, held, since FROM budgets WHERE owner = ? ORDER BY period"
	updateBudget = "UPDATE budgets SET spent = ?, held = ?, since = ? WHERE owner = ? AND period = ?"
)

// Read reads the budgets of these owners in a transaction of SQLite, which has
// no other.
func Read(d *storage.Direct, owners []string) (*Book, error) {
	b := &Book{}
	there := false
	err := d.Query(anyBudget, func(row []driver.Value) error {
		there = row[0] == int64(1)
		return nil
	})
	if err != nil || !there {
		return b, wrap(err)
	}
	b.changed = map[*models.Budget]bool{}
	slices.Sort(owners)
	for _, owner := range slices.Compact(owners) {
		err := d.Query(readBudgets, func(row []driver.Value) error {
			x, err := budget(owner, row)
			b.budgets = append(b.budgets, x)
			return err
		}, owner)
		if err != nil {
			return nil, wrap(err)
		}
	}
	return b, nil
}

func budget(owner string, row []driver.Value) (*models.Budget, error) {
	period, ok := row[0].(string)
	since, isText := row[4].(string)
	var n [3]int64
	for i := range n {
		v, isInt := row[i+1].(int64)
		n[i], ok = v, ok && isInt
	}
	if !ok || !isText {
		return nil, fmt.Errorf("a budget of %s is %T", owner, row)
	}
	at, err := time.Parse(storage.TimeLayout, since)
	return &models.Budget{
		Owner: owner, Period: models.Period(period),
		Limit: models.Nanos(n[0]), Spent: models.Nanos(n[1]), Held: models.Nanos(n[2]), Since: at.UTC(),
	}, err
}

// Write writes what has changed.
func (b *Book) Write(d *storage.Direct) error {
	for _, x := range b.budgets {
		if !b.changed[x] {
			continue
		}
		_, err := d.Exec(updateBudget, int64(x.Spent), int64(x.Held), x.Since.UTC().Format(storage.TimeLayout), x.Owner, string(x.Period))
		if err != nil {
			return fmt.Errorf("update budget: %w", err)
		}
	}
	return nil
}

func wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("read budgets: %w", err)
}
