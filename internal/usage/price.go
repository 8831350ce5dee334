package usage

import (
	"math"
	"math/bits"

	"github.com/coaidev/coai/models"
)

// Amounts are summed up in shares of a nano-dollar: so many make one. It is a
// multiple of a million, for prices of a million tokens, and of the milliseconds
// of a minute, so that every product is whole and only the sum is rounded.
const (
	shares          = 3_000_000
	sharesOfTokens  = shares / 1_000_000
	sharesOfMinutes = shares / 60_000
)

// Price fills u.Cost and u.CostDetails. The total is exact and rounded once,
// half up, to a nano-dollar; the two details sum to it. Cached, written, image,
// audio and reasoning tokens are parts of their total: more of them than that
// count as all of it. What is asked for counts as the prompt's cost, what is
// made as the completion's. Amounts beyond [models.Nanos] become its maximum.
// The length of the prompt decides on the tier. With nil pricing both fields stay
// as they are.
func Price(p *models.Pricing, u *models.Usage) {
	if p == nil {
		return
	}
	p = p.ForPrompt(u.PromptTokens)
	in := promptCost(p, u)
	total := in.plus(completionCost(p, u))
	cost, inCost := total.rounded(), in.rounded()
	u.Cost = &cost
	// What is rounded is the sum: the completion takes the difference.
	u.CostDetails = &models.CostDetails{PromptCost: inCost, CompletionCost: cost - inCost}
}

func promptCost(p *models.Pricing, u *models.Usage) uint128 {
	d := models.PromptTokensDetails{}
	if u.PromptTokensDetails != nil {
		d = *u.PromptTokensDetails
	}
	rest := max(u.PromptTokens, 0)
	sum := part(&rest, d.CachedTokens, p.CachedRead, p.Prompt)
	sum = sum.plus(part(&rest, d.CacheWriteTokens, p.CacheWrite, p.Prompt))
	sum = sum.plus(part(&rest, d.AudioTokens, p.AudioInput, p.Prompt))
	sum = sum.plus(part(&rest, d.ImageTokens, p.ImageInput, p.Prompt))
	sum = sum.plus(part(&rest, rest, nil, p.Prompt))
	sum = sum.plus(product(u.Characters, p.PerCharacter, shares))
	return sum.plus(product(u.AudioMS, p.PerMinute, sharesOfMinutes))
}

func completionCost(p *models.Pricing, u *models.Usage) uint128 {
	d := models.CompletionTokensDetails{}
	if u.CompletionTokensDetails != nil {
		d = *u.CompletionTokensDetails
	}
	rest := max(u.CompletionTokens, 0)
	sum := part(&rest, d.ReasoningTokens, p.Reasoning, p.Completion)
	sum = sum.plus(part(&rest, d.AudioTokens, p.AudioOutput, p.Completion))
	sum = sum.plus(part(&rest, rest, nil, p.Completion))
	sum = sum.plus(product(u.Images, p.Image, shares))
	if *u != (models.Usage{Estimated: u.Estimated}) { // a request that used nothing failed
		sum = sum.plus(product(1, p.PerRequest, shares))
	}
	return sum
}

// part takes tokens out of the rest, at their own price or the common one.
func part(rest *int64, tokens int64, own *models.Nanos, common models.Nanos) uint128 {
	tokens = min(max(tokens, 0), *rest)
	*rest -= tokens
	if own == nil {
		own = &common
	}
	return product(tokens, own, sharesOfTokens)
}

// HoldFor is what a request may cost at most: the most that it may use, at the
// dearest of the prices that may apply.
func HoldFor(p *models.Pricing, most models.Usage) models.Nanos {
	if p == nil {
		return 0
	}
	held := models.Nanos(0)
	for _, step := range p.Steps(most.PromptTokens) {
		worst := *step
		worst.Tiers = nil // it is one of them
		worst.Prompt = dearest(step.Prompt, step.CachedRead, step.CacheWrite, step.ImageInput, step.AudioInput)
		worst.Completion = dearest(step.Completion, step.Reasoning, step.AudioOutput)
		u := models.Usage{
			PromptTokens: most.PromptTokens, CompletionTokens: most.CompletionTokens,
			Images: most.Images, Characters: most.Characters, AudioMS: most.AudioMS,
		}
		Price(&worst, &u)
		held = max(held, *u.Cost)
	}
	return held
}

func dearest(common models.Nanos, others ...*models.Nanos) models.Nanos {
	for _, o := range others {
		if o != nil {
			common = max(common, *o)
		}
	}
	return common
}

// uint128 is an amount in shares.
type uint128 struct{ hi, lo uint64 }

// most bounds a count, so that a dozen products of it and a price fit in.
const most = math.MaxInt64 >> 24

func product(count int64, price *models.Nanos, scale uint64) uint128 {
	if price == nil || count <= 0 || *price <= 0 {
		return uint128{}
	}
	hi, lo := bits.Mul64(uint64(min(count, most))*scale, uint64(*price))
	return uint128{hi, lo}
}

func (a uint128) plus(b uint128) uint128 {
	lo, carry := bits.Add64(a.lo, b.lo, 0)
	hi, _ := bits.Add64(a.hi, b.hi, carry)
	return uint128{hi, lo}
}

// rounded is the amount in nano-dollars, rounded half up.
func (a uint128) rounded() models.Nanos {
	a = a.plus(uint128{0, shares / 2})
	if a.hi >= shares {
		return math.MaxInt64
	}
	nanos, _ := bits.Div64(a.hi, a.lo, shares)
	return models.Nanos(min(nanos, math.MaxInt64))
}
