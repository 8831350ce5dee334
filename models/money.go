package models

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// Nanos is an exact amount of money in nano-dollars (10⁻⁹ USD). A single token
// can cost 37 of them, so nothing coarser is exact.
type Nanos int64

// Dollar is one US dollar.
const Dollar Nanos = 1_000_000_000

// String is the amount in dollars as a plain decimal without an exponent and
// without trailing zeros, such as 0.00015.
func (n Nanos) String() string {
	sign, abs := "", uint64(n)
	if n < 0 {
		sign, abs = "-", -abs
	}
	whole, frac := abs/uint64(Dollar), abs%uint64(Dollar)
	if frac == 0 {
		return sign + strconv.FormatUint(whole, 10)
	}
	return sign + strconv.FormatUint(whole, 10) + "." + strings.TrimRight(fmt.Sprintf("%09d", frac), "0")
}

// ParseNanos reads a decimal number of dollars. More than nine decimal places,
// an exponent, or an amount beyond ±9.2 billion dollars is an error.
func ParseNanos(s string) (Nanos, error) {
	if len(s) > 32 || strings.ContainsAny(s, "eE/_xXpP") {
		return 0, fmt.Errorf("%q is not a plain decimal number", clip(s, 40))
	}
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		return 0, fmt.Errorf("%q is not a decimal number", clip(s, 40))
	}
	r.Mul(r, new(big.Rat).SetInt64(int64(Dollar)))
	if !r.IsInt() {
		return 0, fmt.Errorf("%q has more than nine decimal places", s)
	}
	if !r.Num().IsInt64() {
		return 0, fmt.Errorf("%q is out of range", s)
	}
	return Nanos(r.Num().Int64()), nil
}

// MarshalJSON writes the dollars as a JSON number with all digits.
func (n Nanos) MarshalJSON() ([]byte, error) { return []byte(n.String()), nil }

// UnmarshalJSON reads a JSON number, or a string that holds one.
func (n *Nanos) UnmarshalJSON(b []byte) error {
	v, err := ParseNanos(strings.Trim(string(b), `"`))
	*n = v
	return err
}

// Money is an amount with its currency, as GraphQL shows it.
type Money struct {
	Amount   Nanos  `json:"value"`
	Currency string `json:"currency"`
}

// USD is an amount in US dollars, the only currency so far.
func USD(n Nanos) Money { return Money{Amount: n, Currency: "usd"} }
