package models

import (
	"context"
	"strings"
	"time"

	"github.com/uptrace/bun"
)

// Limits of conversations.
const (
	MaxConversationMessages = 10_000   // branches included
	MaxConversationDepth    = 2_000    // messages from the first to the last of a branch
	MaxMessageBytes         = 8 << 20  // of one message, as JSON
	MaxTranscriptBytes      = 20 << 20 // of the branch that is sent to a model
	MaxItems                = 100      // added at a time
	maxTitle                = 200
	maxSystemPrompt         = 100_000
	maxSearch               = 256
	maxMetadataFilter       = 4
)

// ConversationStatus says whether a conversation goes on.
type ConversationStatus string

// The statuses.
const (
	ConversationActive    ConversationStatus = "active"
	ConversationCompleted ConversationStatus = "completed" // takes no further turns until it is active again
)

// Where a conversation has its title from. A title that a person gave is kept.
const (
	TitledNot    = ""
	TitledWords  = "words" // of the first message
	TitledModel  = "model"
	TitledPerson = "person"
)

// Conversation is a stored conversation: a tree of messages, of which one branch
// is active, and what they have cost together.
type Conversation struct {
	bun.BaseModel `bun:"table:conversations,alias:cv" json:"-"`

	ID           string             `bun:"id,pk"`
	UserID       string             `bun:"user_id"`
	Title        string             `bun:"title"`
	Titled       string             `bun:"titled"`
	Model        *string            `bun:"model"`         // of turns that name none
	SystemPrompt *string            `bun:"system_prompt"` // above every turn
	Status       ConversationStatus `bun:"status"`
	Metadata     Metadata           `bun:"metadata,type:jsonb"`
	LeafID       *string            `bun:"leaf_id"` // the last message of the active branch
	LastID       string             `bun:"last_id"` // the newest message there ever was
	MessageCount int                `bun:"message_count"`

	PromptTokens     int64 `bun:"prompt_tokens"`
	CompletionTokens int64 `bun:"completion_tokens"`
	Cost             Nanos `bun:"cost"`

	Activity      string     `bun:"activity"` // sorts by the time of the last message, and is unique
	Revision      int64      `bun:"revision"` // counts the changes that are told to watchers
	SharedAt      *time.Time `bun:"shared_at"`
	CreatedAt     time.Time  `bun:"created_at"`
	UpdatedAt     time.Time  `bun:"updated_at"`
	LastMessageAt *time.Time `bun:"last_message_at"`
	DeletedAt     *time.Time `bun:"deleted_at"`

	Snippet *string `bun:"-"` // where a search has found its words
	Batch   *Batch  `bun:"-"` // of the page that it is on; nil: it was asked for alone
}

// IsNode makes Conversation a Relay node.
func (Conversation) IsNode() {}

// BeforeAppendModel makes absent metadata empty before bun writes the row.
func (c *Conversation) BeforeAppendModel(context.Context, bun.Query) error {
	if c.Metadata == nil {
		c.Metadata = Metadata{}
	}
	return nil
}

// Usage is what all its answers have used and cost together.
func (c *Conversation) Usage() *Usage {
	cost := c.Cost
	return &Usage{
		PromptTokens: c.PromptTokens, CompletionTokens: c.CompletionTokens,
		TotalTokens: c.PromptTokens + c.CompletionTokens, Cost: &cost,
	}
}

// ConversationFilter narrows a list of conversations.
type ConversationFilter struct {
	Status   *ConversationStatus
	Model    *string
	Metadata Metadata // all pairs must be there; at most four
	// Search finds conversations by words of their titles and messages; the best
	// come first, and such a list is paged by offsets.
	Search *string
}

// Validate checks the filter.
func (f *ConversationFilter) Validate() error {
	if f == nil {
		return nil
	}
	if err := f.Status.validate(); err != nil {
		return err
	}
	if f.Model != nil {
		if err := validName("model", *f.Model, 1, maxModelName); err != nil {
			return err
		}
	}
	if len(f.Metadata) > maxMetadataFilter {
		return Invalid("metadata", "'metadata' must have at most %d pairs to filter by; got %d.", maxMetadataFilter, len(f.Metadata))
	}
	if err := f.Metadata.validate("metadata"); err != nil {
		return err
	}
	if err := f.Metadata.storable("metadata"); err != nil {
		return err
	}
	if f.Search != nil {
		return validName("search", *f.Search, 0, maxSearch)
	}
	return nil
}

func (s *ConversationStatus) validate() error {
	if s != nil && *s != ConversationActive && *s != ConversationCompleted {
		return Invalid("status", "'status' must be one of active, completed; got '%s'.", clip(string(*s), 40))
	}
	return nil
}

// storable refuses what no database takes.
func (m Metadata) storable(param string) error {
	for k, v := range m {
		if err := noNUL(param+"."+k, v); err != nil {
			return err
		}
	}
	return nil
}

// ConversationOrderField is what a list of conversations is sorted by.
type ConversationOrderField string

// The order fields.
const (
	ConversationsByCreation ConversationOrderField = "created_at"
	ConversationsByActivity ConversationOrderField = "last_message_at" // those without messages by their creation
)

// ConversationOrder sorts a list of conversations.
type ConversationOrder struct {
	Field     *ConversationOrderField // default [ConversationsByCreation]
	Direction *OrderDirection         // default [OrderDesc]
}

// Validate checks the order.
func (o *ConversationOrder) Validate() error {
	if o == nil || o.Field == nil {
		return nil
	}
	f := string(*o.Field)
	return validChoice("sort", &f, "created_at, last_message_at", "created_at", "last_message_at")
}

// CreateConversationInput begins a conversation.
type CreateConversationInput struct {
	Title        *string  `json:"title,omitempty"`
	Model        *string  `json:"model,omitempty"`
	SystemPrompt *string  `json:"system_prompt,omitempty"`
	Metadata     Metadata `json:"metadata,omitempty"`
	Items        JSON     `json:"items,omitempty"` // OpenAI's: the first items, at most [MaxItems]
}

// Validate checks the input.
func (in *CreateConversationInput) Validate() error {
	if in.Title != nil {
		if err := validName("title", *in.Title, 0, maxTitle); err != nil {
			return err
		}
	}
	if err := validDefaults(in.Model, in.SystemPrompt); err != nil {
		return err
	}
	if err := in.Metadata.validate("metadata"); err != nil {
		return err
	}
	return in.Metadata.storable("metadata")
}

func validDefaults(model, prompt *string) error {
	if model != nil {
		if err := validName("model", *model, 1, maxModelName); err != nil {
			return err
		}
	}
	if prompt == nil {
		return nil
	}
	if n := len([]rune(*prompt)); n > maxSystemPrompt {
		return Invalid("system_prompt", "'system_prompt' must have at most %d characters; got %d.", maxSystemPrompt, n)
	}
	return noNUL("system_prompt", *prompt)
}

// UpdateConversationInput changes a conversation. Absent fields stay as they are.
type UpdateConversationInput struct {
	Title        Omittable[*string]             `json:"title,omitzero"`         // null: made anew from the first words
	Model        Omittable[*string]             `json:"model,omitzero"`         // null: none
	SystemPrompt Omittable[*string]             `json:"system_prompt,omitzero"` // null: none
	Status       Omittable[*ConversationStatus] `json:"status,omitzero"`        // completed ends it, active opens it again
	Metadata     Omittable[Metadata]            `json:"metadata,omitzero"`      // replaces all; null: none
	LeafID       Omittable[*string]             `json:"leaf_id,omitzero"`       // makes the branch that ends there the active one
}

// Validate checks the input.
func (in *UpdateConversationInput) Validate() error {
	if v := in.Title.Value(); v != nil {
		if err := validName("title", *v, 1, maxTitle); err != nil {
			return err
		}
	}
	if err := validDefaults(in.Model.Value(), in.SystemPrompt.Value()); err != nil {
		return err
	}
	if v, ok := in.Status.ValueOK(); ok {
		if v == nil {
			return Invalid("status", "'status' must not be null.")
		}
		if err := v.validate(); err != nil {
			return err
		}
	}
	if v, ok := in.LeafID.ValueOK(); ok && (v == nil || strings.TrimSpace(*v) == "") {
		return Invalid("leaf_id", "'leaf_id' must be the id of a message.")
	}
	m := in.Metadata.Value()
	if err := m.validate("metadata"); err != nil {
		return err
	}
	return m.storable("metadata")
}

// ConversationShare is a link that lets anybody read a conversation as it was when
// it was shared.
type ConversationShare struct {
	ConversationID string
	Token          string // shown once; whoever has it can read
	CreatedAt      time.Time
	ExpiresAt      *time.Time // nil: never
}

// Path is where the REST face shows it.
func (s *ConversationShare) Path() string { return "/v1/shared/" + s.Token }

// ShareConversationInput says for how long a conversation is shared.
type ShareConversationInput struct {
	ExpiresAt *time.Time `json:"expires_at,omitempty"` // default: until it is revoked
}

// Validate checks the input at the time now.
func (in *ShareConversationInput) Validate(now time.Time) error {
	if in == nil {
		return nil
	}
	return validExpiry(in.ExpiresAt, now)
}

// SharedConversation is what a link shows: the active branch as it was, without
// system prompts, tools, and anything about its owner.
type SharedConversation struct {
	Title     string          `json:"title"`
	Model     *string         `json:"model"`
	CreatedAt time.Time       `json:"created_at"`
	SharedAt  time.Time       `json:"shared_at"`
	ExpiresAt *time.Time      `json:"expires_at"`
	Messages  []SharedMessage `json:"messages"`
}

// SharedMessage is one message of a [SharedConversation].
type SharedMessage struct {
	Role      MessageRole `json:"role"`
	Content   string      `json:"content"`
	Images    []string    `json:"images"` // URLs, data URLs too
	Model     *string     `json:"model"`
	CreatedAt time.Time   `json:"created_at"`
}

// ExportFormat is the form of an exported conversation.
type ExportFormat string

// The formats.
const (
	ExportJSON     ExportFormat = "json"     // all messages of all branches
	ExportMarkdown ExportFormat = "markdown" // the active branch, for people
)

// Validate checks the format.
func (f ExportFormat) Validate() error {
	s := string(f)
	return validChoice("format", &s, "json, markdown", "json", "markdown")
}
