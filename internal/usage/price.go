package usage

import (
	"math"
	"math/bits"

	"github.com/coaidev/coai/models"
)

// perTokens is the number of tokens that a price is for.
const perTokens = 1_000_000

// Price fills u.Cost and u.CostDetails. The total is exact and rounded once,
// half up, to a nano-dollar; the two details sum to it. Cached tokens cost
// p.CachedRead, or p.Prompt without one; more cached tokens than prompt tokens
// count as all of them. Amounts beyond [models.Nanos] become its maximum. With
// nil pricing both fields stay as they are.
func Price(p *models.Pricing, u *models.Usage) {
	if p == nil {
		return
	}
	cachedPrice := p.Prompt
	if p.CachedRead != nil {
		cachedPrice = *p.CachedRead
	}
	prompt := max(u.PromptTokens, 0)
	cached := min(max(u.CachedTokens(), 0), prompt)
	in := product(prompt-cached, p.Prompt).plus(product(cached, cachedPrice))
	total := in.plus(product(max(u.CompletionTokens, 0), p.Completion))
	cost, inCost := total.rounded(), in.rounded()
	u.Cost = &cost
	// What is rounded is the sum: the completion takes the difference.
	u.CostDetails = &models.CostDetails{PromptCost: inCost, CompletionCost: cost - inCost}
}

// uint128 is a number of nano-dollars times [perTokens]. Three products of
// 63-bit numbers fit in.
type uint128 struct{ hi, lo uint64 }

func product(tokens int64, price models.Nanos) uint128 {
	hi, lo := bits.Mul64(uint64(tokens), uint64(max(price, 0)))
	return uint128{hi, lo}
}

func (a uint128) plus(b uint128) uint128 {
	lo, carry := bits.Add64(a.lo, b.lo, 0)
	hi, _ := bits.Add64(a.hi, b.hi, carry)
	return uint128{hi, lo}
}

// rounded is the amount in nano-dollars, rounded half up.
func (a uint128) rounded() models.Nanos {
	a = a.plus(uint128{0, perTokens / 2})
	if a.hi >= perTokens {
		return math.MaxInt64
	}
	nanos, _ := bits.Div64(a.hi, a.lo, perTokens)
	return models.Nanos(min(nanos, math.MaxInt64))
}
