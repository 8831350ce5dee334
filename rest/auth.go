package rest

import (
	"net/http"
	"net/url"
	"time"

	"github.com/coaidev/coai/graph"
	"github.com/coaidev/coai/models"
)

type sessionView struct {
	Object string `json:"object"`
	*models.Session
	CreatedAt  time.Time `json:"created_at"`
	LastSeenAt time.Time `json:"last_seen_at"`
	ExpiresAt  time.Time `json:"expires_at"`
}

func viewSession(s *models.Session) *sessionView {
	return &sessionView{Object: "session", Session: s, CreatedAt: s.CreatedAt, LastSeenAt: s.LastSeenAt, ExpiresAt: s.ExpiresAt}
}

// signedInView is a session with whose it is.
type signedInView struct {
	*sessionView
	User any `json:"user"`
}

type methodsView struct {
	Object string `json:"object"`
	*models.SignInMethods
}

// requestedView answers when an e-mail was asked for, whether or not there is one
// to write.
type requestedView struct {
	Object   string `json:"object"`
	Accepted bool   `json:"accepted"`
}

type emailView struct {
	Object string `json:"object"`
	Email  string `json:"email"`
}

type signedOutView struct {
	Object    string `json:"object"`
	SignedOut bool   `json:"signed_out"`
}

type deletedSessionsView struct {
	Object  string `json:"object"`
	Deleted int    `json:"deleted"` // how many
}

func (h *handler) signInMethods(w http.ResponseWriter, r *http.Request) error {
	m, err := h.resolver.Query().SignInMethods(r.Context())
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, methodsView{"sign_in_methods", m})
}

func (h *handler) writeSignedIn(w http.ResponseWriter, r *http.Request, done *models.SignInPayload) error {
	user, err := h.viewUser(r.Context(), done.Viewer)
	if err != nil {
		return err
	}
	return writeJSON(w, signedInView{viewSession(done.Session), user})
}

func (h *handler) signUp(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[models.SignUpInput](h, w, r)
	if err != nil {
		return err
	}
	done, err := graph.Outcome(h.resolver.Mutation().SignUp(r.Context(), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return h.writeSignedIn(w, r, done)
}

func (h *handler) signIn(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[models.SignInInput](h, w, r)
	if err != nil {
		return err
	}
	done, err := graph.Outcome(h.resolver.Mutation().SignIn(r.Context(), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return h.writeSignedIn(w, r, done)
}

func (h *handler) signOut(w http.ResponseWriter, r *http.Request) error {
	done, err := graph.Outcome(h.resolver.Mutation().SignOut(r.Context()))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, signedOutView{"sign_out", done.SignedOut})
}

func (h *handler) changePassword(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[models.ChangePasswordInput](h, w, r)
	if err != nil {
		return err
	}
	done, err := graph.Outcome(h.resolver.Mutation().ChangePassword(r.Context(), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return h.writeUser(w, r, done.Viewer)
}

func (h *handler) verifyEmail(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[models.TokenInput](h, w, r)
	if err != nil {
		return err
	}
	done, err := graph.Outcome(h.resolver.Mutation().VerifyEmail(r.Context(), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, emailView{"verified_email", *done.Email})
}

func (h *handler) requestEmailVerification(w http.ResponseWriter, r *http.Request) error {
	done, err := graph.Outcome(h.resolver.Mutation().RequestEmailVerification(r.Context()))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, requestedView{"email_request", done.Accepted})
}

func (h *handler) requestPasswordReset(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[models.EmailInput](h, w, r)
	if err != nil {
		return err
	}
	done, err := graph.Outcome(h.resolver.Mutation().RequestPasswordReset(r.Context(), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, requestedView{"email_request", done.Accepted})
}

func (h *handler) resetPassword(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[models.ResetPasswordInput](h, w, r)
	if err != nil {
		return err
	}
	done, err := graph.Outcome(h.resolver.Mutation().ResetPassword(r.Context(), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, emailView{"password_reset", *done.Email})
}

func (h *handler) listSessions(w http.ResponseWriter, r *http.Request) error {
	p, err := parsePage(r.URL.Query())
	if err != nil {
		return err
	}
	first, after, last, before := p.args()
	page, err := h.resolver.Query().Sessions(r.Context(), first, after, last, before, p.order)
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	l, err := viewList(r.Context(), p, page, func(s *models.Session) string { return s.ID }, func(s *models.Session) any { return viewSession(s) })
	if err != nil {
		return err
	}
	return writeJSON(w, l)
}

func (h *handler) deleteSession(w http.ResponseWriter, r *http.Request) error {
	done, err := graph.Outcome(h.resolver.Mutation().DeleteSession(r.Context(), r.PathValue("id")))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, deletedView{ID: *done.DeletedSessionID, Object: "session", Deleted: true})
}

func (h *handler) deleteSessions(w http.ResponseWriter, r *http.Request) error {
	keep, err := boolParam(r.URL.Query(), "keep_current")
	if err != nil {
		return err
	}
	done, err := graph.Outcome(h.resolver.Mutation().DeleteSessions(r.Context(), keep))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	return writeJSON(w, deletedSessionsView{"sessions", done.Count})
}

// startOIDC sends the browser to the issuer.
func (h *handler) startOIDC(w http.ResponseWriter, r *http.Request) error {
	done, err := graph.Outcome(h.resolver.Mutation().StartOidcSignIn(r.Context(), stringParam(r.URL.Query(), "return_to")))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	redirect(w, *done.URL)
	return nil
}

// finishOIDC is where the issuer sends the browser back to.
func (h *handler) finishOIDC(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	in := models.FinishOIDCInput{State: q.Get("state"), Code: stringParam(q, "code"), Error: stringParam(q, "error")}
	done, err := graph.Outcome(h.resolver.Mutation().FinishOidcSignIn(r.Context(), in))
	if err != nil {
		return err //nolint:wrapcheck // a resolver's
	}
	redirect(w, *done.ReturnTo)
	return nil
}

// redirect sends the browser to a URL that the domain has checked.
func redirect(w http.ResponseWriter, to string) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer") // codes and states stand in URLs
	w.Header().Set("Location", to)
	w.WriteHeader(http.StatusFound)
}

// stringParam is nil when the parameter is absent or empty.
func stringParam(q url.Values, name string) *string {
	if s := q.Get(name); s != "" {
		return &s
	}
	return nil
}
