package chat

import (
	"context"
	"slices"
	"time"

	"github.com/rs/zerolog"
	"github.com/tidwall/gjson"

	"github.com/coaidev/coai/internal/dialect/responses"
	"github.com/coaidev/coai/models"
)

// CreateResponse answers a request in the language of OpenAI's responses in one
// piece, by any channel. Where 'store' is false and all channels of the model have
// responses a REST client's bytes are passed on, see [Service.native] and
// [stateless]; else it is a chat completion underneath. Its errors are those of
// [Service.Complete]. Unless 'store' is false the response can be followed and
// read for 30 days. Scope: chat.
func (s *Service) CreateResponse(ctx context.Context, v *models.Viewer, in models.CreateResponseInput) (*models.CreateResponsePayload, error) {
	if route := s.nativeResponse(v, &in); route != nil {
		if err := s.responseFiles(ctx, v, &in); err != nil {
			return nil, err
		}
		r := s.passResponse(ctx, v, route, &in)
		if err := r.begin(); err != nil {
			return nil, err
		}
		return &models.CreateResponsePayload{Response: wholeResponse(r)}, nil
	}
	d, err := s.draft(ctx, v, &in)
	if err != nil {
		return nil, err
	}
	done, err := s.Complete(ctx, v, d.request.Chat)
	if err != nil {
		return nil, err
	}
	body, err := done.ChatCompletion.Body()
	if err == nil {
		err = d.Whole(body, done.ChatCompletion.Usage)
	}
	if err == nil {
		err = d.keep()
	}
	if err != nil {
		return nil, public(unreadable(err))
	}
	d.row.Usage, d.row.ChannelID, d.row.Cache = done.ChatCompletion.Usage, done.ChatCompletion.ChannelID, done.ChatCompletion.Cache
	return &models.CreateResponsePayload{Response: d.row}, nil
}

// StreamResponse answers a request in the language of OpenAI's responses in its
// events, by the ways of [Service.CreateResponse]. Its errors are those of
// [Service.Stream]. The response is stored before the event that completes it goes
// out; one that fails is not stored. Scope: chat.
func (s *Service) StreamResponse(ctx context.Context, v *models.Viewer, in models.CreateResponseInput) (*Events, error) {
	if route := s.nativeResponse(v, &in); route != nil {
		if err := s.responseFiles(ctx, v, &in); err != nil {
			return nil, err
		}
		return &Events{native: s.passResponse(ctx, v, route, &in)}, nil
	}
	d, err := s.draft(ctx, v, &in)
	if err != nil {
		return nil, err
	}
	return s.streamEvents(ctx, v, &d.request.Chat, d)
}

// Response is one of the viewer's stored responses. Scope: chat.
func (s *Service) Response(ctx context.Context, v *models.Viewer, id string) (*models.Response, error) {
	if err := v.Require(models.ScopeChat); err != nil {
		return nil, err
	}
	return s.archive.Response(ctx, v, id) //nolint:wrapcheck // its error is the client's
}

// DeleteResponse deletes one of the viewer's stored responses. Responses that
// follow it can then not be followed any more. Scope: chat.
func (s *Service) DeleteResponse(ctx context.Context, v *models.Viewer, id string) (*models.DeleteResponsePayload, error) {
	if err := v.Require(models.ScopeChat); err != nil {
		return nil, err
	}
	if err := s.archive.Delete(ctx, v, id); err != nil {
		return nil, err //nolint:wrapcheck // its error is the client's
	}
	return &models.DeleteResponsePayload{DeletedResponseID: &id}, nil
}

// CancelResponse always fails: responses are not made in the background, so
// none that is stored can still be cancelled. Scope: chat.
func (s *Service) CancelResponse(ctx context.Context, v *models.Viewer, id string) (*models.CancelResponsePayload, error) {
	r, err := s.Response(ctx, v, id)
	if err != nil {
		return nil, err
	}
	return nil, models.Invalid("id", "Cannot cancel the response '%s': it is %s, and only responses made in the background can be cancelled.", r.ID, r.Status)
}

// ResponseInputItems lists what a stored response was asked: its own input,
// without the responses before it. Scope: chat.
func (s *Service) ResponseInputItems(ctx context.Context, v *models.Viewer, id string, args models.PageArgs) (*models.Connection[models.ResponseItem], error) {
	r, err := s.Response(ctx, v, id)
	if err != nil {
		return nil, err
	}
	page, err := args.Page()
	if err != nil {
		return nil, err
	}
	var items []*models.ResponseItem
	gjson.ParseBytes(r.Input).ForEach(func(_, item gjson.Result) bool {
		items = append(items, &models.ResponseItem{ID: item.Get("id").Str, Raw: models.JSON(item.Raw)})
		return true
	})
	total := len(items)
	count := func(context.Context) (int, error) { return total, nil }
	if page.Descending {
		slices.Reverse(items)
	}
	items, more := cut(items, page)
	return models.NewConnection(page, items, more, func(i *models.ResponseItem) string { return i.ID }, count), nil
}

// cut takes a page out of a list that is in the order asked for.
func cut(items []*models.ResponseItem, p models.Page) (page []*models.ResponseItem, more bool) {
	at := slices.IndexFunc(items, func(i *models.ResponseItem) bool { return i.ID == p.Key })
	switch {
	case p.Backward && at >= 0:
		items = items[:at]
	case p.Backward && p.Key != "", !p.Backward && p.Key != "" && at < 0:
		return nil, false
	case !p.Backward && p.Key != "":
		items = items[at+1:]
	}
	items = items[min(p.Offset, len(items)):]
	if len(items) <= p.Limit {
		return items, false
	}
	if p.Backward {
		return items[len(items)-p.Limit:], true
	}
	return items[:p.Limit], true
}

// draft is a response that is being made.
type draft struct {
	*responses.Writer

	s       *Service
	ctx     context.Context
	request *responses.Request
	row     *models.Response
	stores  bool
}

// draft translates a request, after what it follows and refers to is loaded.
func (s *Service) draft(ctx context.Context, v *models.Viewer, in *models.CreateResponseInput) (*draft, error) {
	if err := v.Require(models.ScopeChat); err != nil {
		return nil, err
	}
	now := time.Now().UTC().Truncate(time.Microsecond)
	conversation, err := conversationOf(in)
	if err != nil {
		return nil, err
	}
	row := &models.Response{ID: models.NewID(models.ResponsePrefix), UserID: v.UserID, PreviousID: in.PreviousResponseID, CreatedAt: now}
	var chain []*models.Response
	if in.PreviousResponseID != nil {
		if chain, err = s.archive.Chain(ctx, v, *in.PreviousResponseID); err != nil {
			return nil, err //nolint:wrapcheck // its error is the client's
		}
	}
	found, err := s.references(ctx, v, in, chain)
	if err != nil {
		return nil, err
	}
	var before []models.JSON
	for _, r := range chain {
		before = append(before, r.Input, r.Output)
	}
	if conversation != "" {
		items, err := s.conversationItems(ctx, v, conversation)
		if err != nil {
			return nil, err
		}
		before = append(before, items)
	}
	request, err := responses.Translate(in, row.ID, before, found)
	if err != nil {
		return nil, err
	}
	if conversation != "" {
		request.Chat.ConversationID, request.Chat.Own = &conversation, &request.Own
		if in.Instructions != nil && *in.Instructions != "" {
			request.Chat.Lead = 1
		}
	}
	row.Input = request.Items
	return &draft{
		Writer: responses.NewWriter(in, row.ID, now), s: s, ctx: ctx, request: request, row: row, stores: in.Stores(),
	}, nil
}

// references finds the stored items that a request refers to.
func (s *Service) references(ctx context.Context, v *models.Viewer, in *models.CreateResponseInput, chain []*models.Response) (map[string]models.JSON, error) {
	ids := responses.References(in)
	if len(ids) == 0 {
		return nil, nil //nolint:nilnil // none
	}
	var owners []string
	for _, id := range ids {
		if owner := responses.Owner(id); owner != "" && !slices.Contains(owners, owner) {
			owners = append(owners, owner)
		}
	}
	rows, err := s.archive.Owners(ctx, v, owners)
	if err != nil {
		return nil, err //nolint:wrapcheck // wrapped there
	}
	found := map[string]models.JSON{}
	for _, r := range append(rows, chain...) {
		for _, items := range []models.JSON{r.Input, r.Output} {
			gjson.ParseBytes(items).ForEach(func(_, item gjson.Result) bool {
				if id := item.Get("id").Str; slices.Contains(ids, id) {
					found[id] = models.JSON(item.Raw)
				}
				return true
			})
		}
	}
	return found, nil
}

// End keeps the response before it gives the events that end it.
func (d *draft) End(u *models.Usage) ([]*models.StreamEvent, error) {
	d.Finish(u)
	if err := d.keep(); err != nil {
		return nil, err
	}
	return d.Writer.End() //nolint:wrapcheck // its cause says it all
}

// keep stores the response. What cannot be stored is still answered, and says
// that it is not: the tokens are spent.
func (d *draft) keep() error {
	if err := d.Response(d.row); err != nil {
		return err //nolint:wrapcheck // as above
	}
	if !d.stores {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(d.ctx), settleTimeout)
	defer cancel()
	if err := d.s.archive.Keep(ctx, d.row); err != nil {
		zerolog.Ctx(ctx).Error().Err(err).Str("response_id", d.row.ID).Msg("response not stored")
		d.NotStored()
		return d.Response(d.row) //nolint:wrapcheck // as above
	}
	return nil
}
