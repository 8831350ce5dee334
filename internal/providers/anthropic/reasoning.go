package anthropic

import (
	"fmt"
	"strconv"
	"strings"
)

const (
	minBudget = 1024  // Anthropic's
	maxBudget = 32000 // above it Anthropic advises batches
)

// version is a model's: a hundred times the major number, and the minor one. 0
// is unknown.
type version int

// The versions at which the API changed.
const (
	claude4  version = 400
	claude46 version = 406
	claude47 version = 407
)

// versionOf reads the version in a model's name: the first one or two numbers
// of at most two digits, as in claude-3-7-sonnet-20250219, claude-opus-4-1,
// anthropic.claude-sonnet-4-20250514-v1:0 and claude-haiku-4.5.
func versionOf(model string) version {
	_, name, found := strings.Cut(strings.ToLower(model), "claude")
	if !found {
		return 0
	}
	words := strings.FieldsFunc(name, func(r rune) bool { return strings.ContainsRune("-._@:/", r) })
	for i, w := range words {
		major, ok := small(w)
		if !ok {
			continue
		}
		minor := 0
		if i+1 < len(words) {
			minor, _ = small(words[i+1])
		}
		return version(major*100 + minor)
	}
	return 0
}

func small(word string) (int, bool) {
	if len(word) > 2 {
		return 0, false
	}
	n, err := strconv.ParseUint(word, 10, 8)
	return int(n), err == nil
}

// reasoning translates reasoning_effort, unless the client said `thinking` itself.
//
// Since Claude 4.6 the effort goes into output_config, and thinking is adaptive;
// none and minimal ask for low effort, and leave it to the model whether it
// thinks at all. Before, thinking gets a share of max_tokens as its budget: a
// tenth for minimal, a fifth for low, half for medium, four fifths for high and
// more, at least 1024 and at most 32000 tokens. It is off for none, when a tool
// must be called, which does not go together, and while the results of calls
// are sent whose thinking blocks the client did not send back.
// https://platform.claude.com/docs/en/build-with-claude/thinking
func (t *translation) reasoning() error {
	if t.in.ReasoningEffort == nil || t.out.Thinking != nil {
		return nil
	}
	effort := *t.in.ReasoningEffort
	share, known := map[string]int{"none": 0, "minimal": 10, "low": 20, "medium": 50, "high": 80, "xhigh": 80, "max": 80}[effort]
	if !known {
		return invalid("reasoning_effort", "must be one of none, minimal, low, medium, high, xhigh, max.")
	}
	if t.model >= claude46 {
		t.adapt(effort)
		return nil
	}
	if share == 0 || t.unthought || t.out.ToolChoice.forces() {
		return nil
	}
	if t.out.MaxTokens <= minBudget {
		if t.drop {
			return nil
		}
		return invalid(t.maxTokensParam(), "must be above %d with 'reasoning_effort': thinking takes at least so many tokens of it.", minBudget)
	}
	return t.think(min(max(t.out.MaxTokens/100*share, minBudget), maxBudget, t.out.MaxTokens-1))
}

// think turns on thinking with a budget, beside which most sampling parameters
// are not allowed.
func (t *translation) think(budget int) error {
	if v := t.out.Temperature; v != nil && *v != 1 {
		if err := t.unsupported("temperature", "It must be 1 with 'reasoning_effort'."); err != nil {
			return err
		}
	}
	if v := t.out.TopP; v != nil && *v < 0.95 {
		if err := t.unsupported("top_p", "It must be at least 0.95 with 'reasoning_effort'."); err != nil {
			return err
		}
		t.out.TopP = nil
	}
	t.out.Temperature = nil
	t.out.Thinking = fmt.Appendf(nil, `{"type":"enabled","budget_tokens":%d}`, budget)
	return nil
}

// adapt asks for an effort, and for a readable summary of the thinking, which
// models since Claude 4.7 keep to themselves otherwise.
func (t *translation) adapt(effort string) {
	thinks := true
	switch effort {
	case "none", "minimal":
		effort, thinks = "low", false
	case "xhigh":
		if t.model < claude47 {
			effort = "high"
		}
	}
	if t.out.OutputConfig == nil {
		t.out.OutputConfig = &outputConfig{}
	}
	if t.out.OutputConfig.Effort == "" {
		t.out.OutputConfig.Effort = effort
	}
	switch {
	case !thinks:
	case t.model >= claude47:
		t.out.Thinking = []byte(`{"type":"adaptive","display":"summarized"}`)
	default:
		t.out.Thinking = []byte(`{"type":"adaptive"}`)
	}
}
