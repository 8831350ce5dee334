package chat

import (
	"context"
	"errors"
	"strings"

	"github.com/rs/zerolog"
	"github.com/tidwall/gjson"
	"golang.org/x/sync/semaphore"

	"github.com/coaidev/coai/internal/dialect"
	"github.com/coaidev/coai/models"
)

const (
	// maxTitles is how many titles are made at a time; beyond them conversations keep
	// the first words.
	maxTitles = 8
	// titlePrompt is cut to so many bytes of each side.
	titlePrompt = 2000
)

// titles makes titles in the background.
type titles struct {
	model string // empty: no model makes titles
	slots *semaphore.Weighted
	ctx   context.Context // ends with the service
	stop  context.CancelFunc
}

func newTitles(model string) titles {
	ctx, stop := context.WithCancel(context.Background()) //nolint:forbidigo // they outlive every request; Close ends it
	return titles{model: model, slots: semaphore.NewWeighted(maxTitles), ctx: ctx, stop: stop}
}

// close ends those that are being made, and waits for that.
func (t titles) close(ctx context.Context) {
	t.stop()
	_ = t.slots.Acquire(ctx, maxTitles)
}

// SendMessage is a turn in a conversation, whose answer comes in one piece. It is
// the way of [Service.Complete], whose errors it has. Scopes: conversations and chat.
func (s *Service) SendMessage(ctx context.Context, v *models.Viewer, in models.SendMessageInput) (*models.SendMessagePayload, error) {
	if err := in.Validate(); err != nil {
		return nil, err
	}
	done, err := s.Complete(ctx, v, in.Completion())
	if err != nil {
		return nil, err
	}
	m, err := s.conversations.Message(ctx, v, *done.ChatCompletion.MessageID)
	if err != nil {
		return nil, err //nolint:wrapcheck // its error is the client's
	}
	return &models.SendMessagePayload{Message: m}, nil
}

// StreamMessageTurn is a turn in a conversation, whose answer is streamed. It is the
// way of [Service.Stream], whose errors it has. Scopes: conversations and chat.
func (s *Service) StreamMessageTurn(ctx context.Context, v *models.Viewer, in models.SendMessageInput) (*Stream, error) {
	if err := in.Validate(); err != nil {
		return nil, err
	}
	yes := true
	request := in.Completion()
	request.Stream, request.StreamOptions = &yes, &models.StreamOptions{IncludeUsage: &yes}
	return s.Stream(ctx, v, request)
}

// RegenerateMessage asks for another answer beside one there is. Scopes:
// conversations and chat.
func (s *Service) RegenerateMessage(ctx context.Context, v *models.Viewer, in models.RegenerateMessageInput) (*models.SendMessagePayload, error) {
	m, err := s.conversations.Message(ctx, v, in.MessageID)
	if err != nil {
		return nil, err //nolint:wrapcheck // its error is the client's
	}
	if m.Role != models.RoleMessageAssistant || m.ParentID == nil {
		return nil, models.Invalid("message_id", "'%s' is not an answer.", m.ID)
	}
	return s.SendMessage(ctx, v, models.SendMessageInput{
		ConversationID: m.ConversationID, ParentID: models.OmittableOf(m.ParentID), Model: in.Model,
	})
}

// title lets a model make the title of a conversation that has had its first
// answer. Nobody waits for it; what it costs is the viewer's. When it fails the
// first words stay.
func (s *Service) title(ctx context.Context, v *models.Viewer, t *turn) {
	if s.titles.model == "" || !t.Untitled() || t.first == "" || !s.titles.slots.TryAcquire(1) {
		return
	}
	asker := *v
	asker.OnDisconnect, asker.CacheTTL = models.OnDisconnectCancel, 0
	request := models.RequestIDFrom(ctx)
	question := "User:\n" + cutText(t.first) + "\n\nAssistant:\n" + cutText(t.Answered())
	log := zerolog.Ctx(ctx)
	go func() {
		defer s.titles.slots.Release(1)
		ctx := models.WithRequestID(log.WithContext(s.titles.ctx), request)
		most := 40
		done, err := s.Complete(ctx, &asker, models.ChatCompletionInput{
			Model: s.titles.model, MaxCompletionTokens: &most,
			Messages: []models.ChatMessage{
				{Role: models.RoleMessageSystem, Content: models.TextContent("Give this conversation a title of at most six words, in its own language. Answer with the title alone.")},
				{Role: models.RoleMessageUser, Content: models.TextContent(question)},
			},
		})
		if err == nil {
			var body *models.ChatCompletionBody
			if body, err = done.ChatCompletion.Body(); err == nil && len(body.Choices) > 0 && body.Choices[0].Message.Content != nil {
				err = s.conversations.NameByModel(ctx, &asker, t.ConversationID(), *body.Choices[0].Message.Content)
			}
		}
		if err != nil {
			s.complain(ctx, err, "no title made")
		}
	}()
}

func cutText(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), titlePrompt)], "")
}

func (s *Service) complain(ctx context.Context, err error, what string) {
	zerolog.Ctx(ctx).Warn().Err(err).Msg(what)
}

// conversationOf is the id of the conversation that a request in the language of
// responses names: as a string, or as an object; empty: none.
func conversationOf(in *models.CreateResponseInput) (string, error) {
	v := dialect.Of("conversation", in.Conversation)
	if !v.Given() {
		return "", nil
	}
	id := v.Result
	if v.IsObject() {
		id = v.Get("id").Result
	}
	if id.Type != gjson.String || id.Str == "" {
		return "", models.Invalid("conversation", "'conversation' must be the id of a conversation, or an object with it.")
	}
	if in.PreviousResponseID != nil {
		return "", models.Invalid("previous_response_id", "Give either 'conversation' or 'previous_response_id', not both.")
	}
	return id.Str, nil
}

// conversationItems are the items of a conversation's active branch as one array.
func (s *Service) conversationItems(ctx context.Context, v *models.Viewer, id string) (models.JSON, error) {
	if s.conversations == nil {
		return nil, models.Invalid("conversation", "This process stores no conversations.")
	}
	items, err := s.conversations.BranchItems(ctx, v, id)
	if e := new(models.Error); errors.As(err, &e) && e.Kind == models.KindNotFound {
		e.Param = "conversation"
	}
	return items, err //nolint:wrapcheck // its error is the client's
}
