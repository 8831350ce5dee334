package rest

import (
	"net/http"

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
	summary, err := h.resolver.User().Usage(r.Context(), u)
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	plan, err := h.resolver.User().Plan(r.Context(), u)
	if err != nil {
		return err //nolint:wrapcheck // as above
	}
	balance, err := h.resolver.User().Balance(r.Context(), u)
	if err != nil {
		return err //nolint:wrapcheck // as above
	}
	budgets, err := h.resolver.User().Budgets(r.Context(), u)
	if err != nil {
		return err //nolint:wrapcheck // as above
	}
	return writeJSON(w, &userView{
		Object: "user", User: u, CreatedAt: u.CreatedAt, UpdatedAt: u.UpdatedAt, Usage: summary,
		Limits:  limitsView{plan.RequestsPerMinute, plan.RequestsPerHour, plan.RequestsPerDay},
		Balance: balance, Budgets: viewBudgets(budgets),
	})
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
