package rest

import (
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/coaidev/coai/models"
)

// The views embed a model and add what OpenAI spells otherwise. Times become
// Unix seconds: see marshalers.

type modelView struct {
	Object string `json:"object"`
	*models.Model
	Created int64        `json:"created"` // 0: nobody has described the model
	Pricing *pricingView `json:"pricing"`
}

// pricingView has money for every price; those that another one stands in for, or
// that cost nothing, are absent.
type pricingView struct {
	Unit         string        `json:"unit"` // of the prices of tokens
	Prompt       models.Money  `json:"prompt"`
	Completion   models.Money  `json:"completion"`
	CachedRead   *models.Money `json:"cached_read"`
	CacheWrite   *models.Money `json:"cache_write,omitzero"`
	Reasoning    *models.Money `json:"reasoning,omitzero"`
	ImageInput   *models.Money `json:"image_input,omitzero"`
	AudioInput   *models.Money `json:"audio_input,omitzero"`
	AudioOutput  *models.Money `json:"audio_output,omitzero"`
	Image        *models.Money `json:"image,omitzero"`
	PerCharacter *models.Money `json:"per_character,omitzero"`
	PerMinute    *models.Money `json:"per_minute,omitzero"`
	PerRequest   *models.Money `json:"per_request,omitzero"`

	Tiers []pricingTierView `json:"tiers,omitempty"`
}

type pricingTierView struct {
	AbovePromptTokens int           `json:"above_prompt_tokens"`
	Prompt            *models.Money `json:"prompt,omitzero"`
	Completion        *models.Money `json:"completion,omitzero"`
	CachedRead        *models.Money `json:"cached_read,omitzero"`
	CacheWrite        *models.Money `json:"cache_write,omitzero"`
}

func viewModel(m *models.Model) any {
	v := &modelView{Object: "model", Model: m}
	if m.CreatedAt != nil {
		v.Created = m.CreatedAt.Unix()
	}
	if p := m.Pricing; p != nil {
		v.Pricing = &pricingView{
			Unit: "per_million_tokens", Prompt: models.USD(p.Prompt), Completion: models.USD(p.Completion),
			CachedRead: dollars(p.CachedRead), CacheWrite: dollars(p.CacheWrite), Reasoning: dollars(p.Reasoning),
			ImageInput: dollars(p.ImageInput), AudioInput: dollars(p.AudioInput), AudioOutput: dollars(p.AudioOutput),
			Image: dollars(p.Image), PerCharacter: dollars(p.PerCharacter), PerMinute: dollars(p.PerMinute), PerRequest: dollars(p.PerRequest),
		}
		for _, t := range p.Tiers {
			v.Pricing.Tiers = append(v.Pricing.Tiers, pricingTierView{
				t.AbovePromptTokens, dollars(t.Prompt), dollars(t.Completion), dollars(t.CachedRead), dollars(t.CacheWrite),
			})
		}
	}
	return v
}

func dollars(n *models.Nanos) *models.Money {
	if n == nil {
		return nil
	}
	m := models.USD(*n)
	return &m
}

type apiKeyView struct {
	Object string `json:"object"`
	*models.APIKey
	CreatedAt         time.Time  `json:"created_at"`
	ExpiresAt         *time.Time `json:"expires_at"`
	LastUsedAt        *time.Time `json:"last_used_at"`
	RevokedAt         *time.Time `json:"revoked_at"`
	PreviousExpiresAt *time.Time `json:"previous_expires_at"`
	Secret            *string    `json:"secret,omitzero"` // when it is made or rotated
	Budgets           []any      `json:"budgets"`

	Usage *models.APIKeyUsage `json:"usage"`
}

func viewAPIKey(k *models.APIKey, secret *string, budgets []*models.Budget, usage *models.APIKeyUsage) any {
	return &apiKeyView{
		Object: "api_key", APIKey: k, CreatedAt: k.CreatedAt, ExpiresAt: k.ExpiresAt, LastUsedAt: k.LastUsedAt,
		RevokedAt: k.RevokedAt, PreviousExpiresAt: k.PreviousExpiresAt, Secret: secret, Budgets: viewBudgets(budgets),
		Usage: usage,
	}
}

type budgetView struct {
	Period   models.Period `json:"period"`
	Limit    models.Money  `json:"limit"`
	Spent    models.Money  `json:"spent"`
	Held     models.Money  `json:"held"`
	ResetsAt *time.Time    `json:"resets_at"` // null: never
}

func viewBudgets(list []*models.Budget) []any {
	views := make([]any, len(list))
	for i, b := range list {
		views[i] = &budgetView{b.Period, b.LimitMoney(), b.SpentMoney(), b.HeldMoney(), b.ResetsAt()}
	}
	return views
}

type entryView struct {
	Object string `json:"object"`
	*models.BalanceEntry
	Amount    models.Money `json:"amount"`
	Balance   models.Money `json:"balance"`
	CreatedAt time.Time    `json:"created_at"`
}

type auditView struct {
	Object string `json:"object"`
	*models.UsageAudit
	Day          string       `json:"day"`
	DeltaTokens  int64        `json:"delta_tokens"`
	DeltaPercent *float64     `json:"delta_percent"`
	Cost         models.Money `json:"cost"`
}

type channelView struct {
	Object string `json:"object"`
	*models.Channel
	Status    models.ChannelStatus `json:"status"`
	CreatedAt time.Time            `json:"created_at"`
	UpdatedAt time.Time            `json:"updated_at"`
}

func viewChannel(c *models.Channel) any {
	return &channelView{Object: "channel", Channel: c, Status: c.Status(), CreatedAt: c.CreatedAt, UpdatedAt: c.UpdatedAt}
}

type explanationView struct {
	Object string `json:"object"`
	*models.RouteExplanation
}

type userView struct {
	Object string `json:"object"`
	*models.User
	CreatedAt time.Time            `json:"created_at"`
	UpdatedAt time.Time            `json:"updated_at"`
	Usage     *models.UsageSummary `json:"usage"`
	Quota     *models.Quota        `json:"quota"` // null: nothing bounds what it spends
	Limits    limitsView           `json:"limits"`

	EmailVerified bool `json:"email_verified"`
	HasPassword   bool `json:"has_password"`

	Balance *models.Money `json:"balance"` // null: not prepaid
	Budgets []any         `json:"budgets"`
}

type limitsView struct {
	RequestsPerMinute int `json:"requests_per_minute"`
	RequestsPerHour   int `json:"requests_per_hour"`
	RequestsPerDay    int `json:"requests_per_day"`
}

type deletedView struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Deleted bool   `json:"deleted"`
}

// writeJSON answers 200 with a view.
func writeJSON(w http.ResponseWriter, view any) error {
	b, err := json.Marshal(view, json.WithMarshalers(marshalers), json.Deterministic(true), jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return err //nolint:wrapcheck // shown as internal; the text names the type
	}
	writeBytes(w, http.StatusOK, b)
	return nil
}

// writeBytes answers with JSON. A client that takes less than 32 KiB a second
// is cut off.
func writeBytes(w http.ResponseWriter, status int, b []byte) {
	const slowest = 32 << 10
	patience := writeTimeout + time.Duration(len(b)/slowest)*time.Second
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(patience)) // a writer without deadlines is one in a test
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(b)))
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(b) // the client has left when this fails
}
