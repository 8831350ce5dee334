package rest

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/coaidev/coai/graph"
	"github.com/coaidev/coai/models"
)

func (h *handler) retrieveViewer(w http.ResponseWriter, r *http.Request) error {
	u, err := h.resolver.Query().Viewer(r.Context())
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return h.writeUser(w, r, u)
}

func (h *handler) updateViewer(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[models.UpdateViewerInput](h, w, r)
	if err != nil {
		return err
	}
	done, err := graph.Outcome(h.resolver.Mutation().UpdateViewer(r.Context(), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return h.writeUser(w, r, done.Viewer)
}

func (h *handler) updateUser(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[models.UpdateUserInput](h, w, r)
	if err != nil {
		return err
	}
	done, err := graph.Outcome(h.resolver.Mutation().UpdateUser(r.Context(), r.PathValue("id"), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return h.writeUser(w, r, done.User)
}

func (h *handler) writeUser(w http.ResponseWriter, r *http.Request, u *models.User) error {
	view, err := h.viewUser(r.Context(), u)
	if err != nil {
		return err
	}
	return writeJSON(w, view)
}

func (h *handler) viewUser(ctx context.Context, u *models.User) (any, error) {
	view := &userView{
		Object: "user", User: u, CreatedAt: u.CreatedAt, UpdatedAt: u.UpdatedAt,
		EmailVerified: u.EmailVerified(), HasPassword: u.HasPassword(),
	}
	var err error
	if view.Usage, err = h.resolver.User().Usage(ctx, u); err != nil {
		return nil, err //nolint:wrapcheck // a resolver's
	}
	plan, err := h.resolver.User().Plan(ctx, u)
	if err != nil {
		return nil, err //nolint:wrapcheck // as above
	}
	view.Limits = limitsView{plan.RequestsPerMinute, plan.RequestsPerHour, plan.RequestsPerDay}
	if view.Balance, err = h.resolver.User().Balance(ctx, u); err != nil {
		return nil, err //nolint:wrapcheck // as above
	}
	if view.Quota, err = h.resolver.User().Quota(ctx, u); err != nil {
		return nil, err //nolint:wrapcheck // as above
	}
	budgets, err := h.resolver.User().Budgets(ctx, u)
	view.Budgets = viewBudgets(budgets)
	return view, err //nolint:wrapcheck // as above
}

func (h *handler) listUsers(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	p, err := parsePage(q)
	if err != nil {
		return err
	}
	filter := &models.UserFilter{
		Q: stringParam(q, "q"), Role: wordParam[models.Role](q, "role"), Tier: wordParam[models.Tier](q, "tier"),
		Status: wordParam[models.UserStatus](q, "status"),
	}
	if filter.CreatedAfter, err = timeParam(q, "created_after"); err != nil {
		return err
	}
	if filter.CreatedBefore, err = timeParam(q, "created_before"); err != nil {
		return err
	}
	order := &models.UserOrder{Field: models.UserOrderField(q.Get("order_by")), Direction: p.order}
	first, after, last, before := p.args()
	page, err := h.resolver.Query().Users(r.Context(), first, after, last, before, order, filter)
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	var failed error
	l, err := viewList(r.Context(), p, page, func(u *models.User) string { return u.ID }, func(u *models.User) any {
		view, err := h.viewUser(r.Context(), u)
		failed = errors.Join(failed, err)
		return view
	})
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	return writeJSON(w, l)
}

// wordParam is nil when the parameter is absent or empty.
func wordParam[T ~string](q url.Values, name string) *T {
	s := stringParam(q, name)
	if s == nil {
		return nil
	}
	v := T(*s)
	return &v
}

// timeParam reads Unix seconds or RFC 3339.
func timeParam(q url.Values, name string) (*time.Time, error) {
	s := q.Get(name)
	if s == "" {
		return nil, nil //nolint:nilnil // absent
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n >= 0 && n <= lastSecond {
		t := time.Unix(n, 0).UTC()
		return &t, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return nil, models.Invalid(name, "'%s' must be a time in Unix seconds, or in RFC 3339 such as 2026-01-31T12:00:00Z.", name)
	}
	t = t.UTC()
	return &t, nil
}

func (h *handler) createUser(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[models.CreateUserInput](h, w, r)
	if err != nil {
		return err
	}
	done, err := graph.Outcome(h.resolver.Mutation().CreateUser(r.Context(), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return h.writeUser(w, r, done.User)
}

func (h *handler) deleteUser(w http.ResponseWriter, r *http.Request) error {
	done, err := graph.Outcome(h.resolver.Mutation().DeleteUser(r.Context(), r.PathValue("id")))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, deletedView{ID: *done.DeletedUserID, Object: "user", Deleted: true})
}

func (h *handler) retrieveUser(w http.ResponseWriter, r *http.Request) error {
	u, err := h.resolver.Query().User(r.Context(), r.PathValue("id"))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return h.writeUser(w, r, u)
}

func (h *handler) updateUserBudgets(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[models.BudgetsInput](h, w, r)
	if err != nil {
		return err
	}
	done, err := graph.Outcome(h.resolver.Mutation().UpdateUserBudgets(r.Context(), r.PathValue("id"), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return h.writeUser(w, r, done.User)
}

func (h *handler) adjustBalance(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[models.AdjustBalanceInput](h, w, r)
	if err != nil {
		return err
	}
	done, err := graph.Outcome(h.resolver.Mutation().AdjustBalance(r.Context(), r.PathValue("id"), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	e := done.Entry
	return writeJSON(w, &entryView{Object: "balance_entry", BalanceEntry: e, Amount: e.AmountMoney(), Balance: e.BalanceMoney(), CreatedAt: e.CreatedAt})
}
