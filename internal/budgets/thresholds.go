package budgets

import (
	"math/bits"

	"github.com/coaidev/coai/models"
)

// Reached is a budget of which at least Percent is spent.
type Reached struct {
	Budget  *models.Budget
	Percent int
}

// Reached gives the thresholds that the budgets which have changed are at or
// above. Prepaid balances have none.
func (b *Book) Reached(percents []int) []Reached {
	var changed []*models.Budget
	for _, x := range b.budgets {
		if b.changed[x] {
			changed = append(changed, x)
		}
	}
	return ReachedBy(changed, percents)
}

// ReachedBy gives the thresholds that these budgets are at or above.
func ReachedBy(all []*models.Budget, percents []int) []Reached {
	var list []Reached
	for _, x := range all {
		if x.Period == models.PeriodBalance || x.Limit <= 0 || x.Spent <= 0 {
			continue
		}
		for _, p := range percents {
			if atLeast(x.Spent, x.Limit, p) {
				list = append(list, Reached{x, p})
			}
		}
	}
	return list
}

// atLeast says whether spent is at least that many percent of limit, in 128 bits.
func atLeast(spent, limit models.Nanos, percent int) bool {
	hi, lo := bits.Mul64(uint64(spent), 100)
	hi2, lo2 := bits.Mul64(uint64(limit), uint64(max(percent, 0)))
	return hi > hi2 || hi == hi2 && lo >= lo2
}
