package audit

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/coaidev/coai/models"
)

// masked stands for a secret.
const masked = "****"

// changes gives what differs between two values, secrets masked.
func changes(before, after any) (was, is models.JSON, err error) {
	b, err := decoded(before)
	if err != nil {
		return nil, nil, err
	}
	a, err := decoded(after)
	if err != nil {
		return nil, nil, err
	}
	if bm, ok := b.(map[string]any); ok {
		if am, ok := a.(map[string]any); ok {
			for name, v := range bm {
				if w, both := am[name]; both && reflect.DeepEqual(v, w) {
					delete(bm, name)
					delete(am, name)
				}
			}
		}
	}
	if was, err = encoded(b); err != nil {
		return nil, nil, err
	}
	is, err = encoded(a)
	return was, is, err
}

// decoded is the value as its JSON reads.
func decoded(v any) (any, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	var out any
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber() // sums of money have more digits than a float64
	if err := d.Decode(&out); err != nil {
		return nil, fmt.Errorf("decode %T: %w", v, err)
	}
	return out, nil
}

func encoded(v any) (models.JSON, error) {
	if v == nil {
		return nil, nil
	}
	raw, err := json.Marshal(mask("", v))
	if err != nil {
		return nil, fmt.Errorf("encode the change: %w", err)
	}
	return raw, nil
}

// mask hides the texts under names that say that they are secret, but for those
// that are hidden already. Headers may hold anything.
func mask(name string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		for n, w := range v {
			if name == "headers" {
				v[n] = masked
				continue
			}
			v[n] = mask(n, w)
		}
		return v
	case []any:
		for i, w := range v {
			v[i] = mask(name, w)
		}
		return v
	case string:
		if secret(name) && v != "" && !strings.HasPrefix(v, masked) {
			return masked
		}
	}
	return v
}

func secret(name string) bool {
	name = strings.ToLower(name)
	for _, word := range []string{"secret", "password", "credential", "token", "hash", "authorization"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}
