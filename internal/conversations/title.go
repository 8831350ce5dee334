package conversations

import (
	"context"
	"fmt"
	"strings"
	"unicode"

	"github.com/uptrace/bun"

	"github.com/coaidev/coai/models"
)

const (
	titleRunes = 60  // of a title made from the first words
	maxTitle   = 200 // characters of any title
)

// firstWords are the first words of a text, cut between two words if there is a
// place for that.
func firstWords(text string) string {
	const enough = 4 << 10
	if len(text) > enough {
		text = strings.ToValidUTF8(text[:enough], "")
	}
	line := []rune(clean(text))
	if len(line) <= titleRunes {
		return string(line)
	}
	cut := titleRunes
	for i := cut; i > titleRunes/2; i-- {
		if unicode.IsSpace(line[i]) {
			cut = i
			break
		}
	}
	return string(line[:cut]) + "…"
}

// clean puts a text on one line without control characters.
func clean(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	return strings.Join(strings.Fields(text), " ")
}

// setTitle gives a conversation that is locked another title.
func (s *Service) setTitle(ctx context.Context, tx bun.IDB, c *models.Conversation, title, titled string) error {
	if title == "" && titled == models.TitledWords {
		titled = models.TitledNot
	}
	was := c.Title
	c.Title, c.Titled = title, titled
	if title == was {
		return nil
	}
	if err := forgetWords(ctx, tx, c.ID, ""); err != nil {
		return err
	}
	if err := indexWords(ctx, tx, c, "", title); err != nil {
		return err
	}
	return tell(ctx, tx, c, models.ConversationTitleChanged, nil)
}

// NameByModel gives a conversation the title that a model has made, unless a
// person or a model has given one meanwhile.
func (s *Service) NameByModel(ctx context.Context, v *models.Viewer, id, title string) error {
	runes := []rune(strings.Trim(clean(title), `"'“”«»*#. `))
	if len(runes) == 0 {
		return nil
	}
	title = string(runes[:min(len(runes), maxTitle)])
	_, err := s.change(ctx, v, id, func(ctx context.Context, tx bun.Tx, c *models.Conversation) error {
		if c.Titled != models.TitledNot && c.Titled != models.TitledWords {
			return nil
		}
		return s.setTitle(ctx, tx, c, title, models.TitledModel)
	})
	if err != nil {
		return fmt.Errorf("name conversation: %w", err)
	}
	return nil
}
