package rest

import "github.com/coaidev/coai/models"

// accountOperations describe signing in, sessions, invitations and users.
func accountOperations() map[string]operation {
	return map[string]operation{
		"Query.signInMethods":               {public: true, response: methodsView{}},
		"Mutation.signUp":                   {public: true, request: models.SignUpInput{}, required: []string{"email", "password"}, example: `{"email":"ada@example.com","password":"correct horse battery staple","name":"Ada"}`, response: signedInView{}},
		"Mutation.signIn":                   {public: true, request: models.SignInInput{}, required: []string{"email", "password"}, example: `{"email":"ada@example.com","password":"correct horse battery staple"}`, response: signedInView{}},
		"Mutation.signOut":                  {public: true, response: signedOutView{}},
		"Query.sessions":                    {response: listed{sessionView{}}, pages: true},
		"Mutation.deleteSession":            {response: deletedView{}},
		"Mutation.deleteSessions":           {response: deletedSessionsView{}, query: []parameter{{name: "keep_current", about: "Whether the session of the request stays.", kind: "boolean"}}},
		"Mutation.changePassword":           {request: models.ChangePasswordInput{}, required: []string{"current_password", "new_password"}, example: `{"current_password":"correct horse battery staple","new_password":"another horse battery staple"}`, response: userView{}},
		"Mutation.verifyEmail":              {public: true, request: models.TokenInput{}, required: []string{"token"}, example: `{"token":"x"}`, response: emailView{}},
		"Mutation.requestEmailVerification": {response: requestedView{}},
		"Mutation.requestPasswordReset":     {public: true, request: models.EmailInput{}, required: []string{"email"}, example: `{"email":"ada@example.com"}`, response: requestedView{}},
		"Mutation.resetPassword":            {public: true, request: models.ResetPasswordInput{}, required: []string{"token", "password"}, example: `{"token":"x","password":"correct horse battery staple"}`, response: emailView{}},
		"Mutation.startOidcSignIn":          {public: true, redirect: true, query: []parameter{{name: "return_to", about: "The path of this server to come back to."}}},
		"Mutation.finishOidcSignIn": {public: true, redirect: true, query: []parameter{
			{name: "state", about: "What the issuer was sent."},
			{name: "code", about: "The issuer's code for the sign-in."},
			{name: "error", about: "Why the issuer refused."},
		}},
		"Query.invitations":         {response: listed{invitationView{}}, pages: true},
		"Mutation.createInvitation": {request: models.CreateInvitationInput{}, optional: true, example: `{"email":"grace@example.com"}`, response: invitationView{}},
		"Mutation.deleteInvitation": {response: deletedView{}},
		"Query.users": {response: listed{userView{}}, pages: true, query: []parameter{
			{name: "q", about: "Only users whose name or e-mail address has these words."},
			{name: "role", about: "Only users with this role.", enum: []string{"user", "admin"}},
			{name: "tier", about: "Only users of this tier.", enum: []string{"free", "pro", "enterprise"}},
			{name: "status", about: "Only users with this status.", enum: []string{"active", "suspended"}},
			{name: "created_after", about: "Only users made after this: Unix seconds, or RFC 3339."},
			{name: "created_before", about: "Only users made before this: as `created_after`."},
			{name: "order_by", about: "What they are ordered by; default `created_at`.", enum: []string{"created_at", "email"}},
		}},
		"Mutation.createUser": {request: models.CreateUserInput{}, required: []string{"email", "name"}, example: `{"email":"grace@example.com","name":"Grace"}`, response: userView{}},
		"Mutation.deleteUser": {response: deletedView{}},
	}
}
