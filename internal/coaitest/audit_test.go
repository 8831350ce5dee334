package coaitest_test

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"

	"github.com/coaidev/coai/internal/coaitest"
)

// auditEntry is an entry of the audit log as REST shows it.
type auditEntry struct {
	ID, Object, Action string
	ActorID            string  `json:"actor_id"`
	APIKeyID           *string `json:"api_key_id"`
	Address            *string
	RequestID          *string `json:"request_id"`
	TargetType         string  `json:"target_type"`
	TargetID           *string `json:"target_id"`
	Before, After      object
	CreatedAt          int64 `json:"created_at"`
}

// auditLog is a page of the audit log.
func auditLog(t *testing.T, p *coaitest.Product, query string) (list struct {
	Data    []auditEntry
	HasMore bool   `json:"has_more"`
	LastID  string `json:"last_id"`
	Total   int
}) {
	t.Helper()
	res := p.Do("GET", "/v1/audit-logs?"+query, coaitest.AdminKey, nil)
	if res.Status != http.StatusOK {
		t.Fatalf("%d %s", res.Status, res.Body)
	}
	res.JSON(t, &list)
	return list
}

// Every mutation that is for admins alone writes an entry of the audit log: one
// without a case here fails.
func TestEveryAdminMutationIsAudited(t *testing.T) {
	t.Parallel()
	p := coaitest.Start(t, coaitest.Backends{}, "COAI_SIGN_UP=invite")
	up := coaitest.NewUpstream(t, listsOrAnswers(`{"data":[{"id":"gpt-test"},{"id":"gpt-new"}]}`))
	id, doomed := p.Channel(up, nil), p.Channel(up, nil)
	var me struct{ ID string }
	p.Do("GET", "/v1/users/me", coaitest.AdminKey, nil).JSON(t, &me)
	var gone, invitation struct{ ID string }
	p.Do("POST", "/v1/users", coaitest.AdminKey, object{"email": "gone@example.com"}).JSON(t, &gone)
	p.Do("POST", "/v1/invitations", coaitest.AdminKey, object{}).JSON(t, &invitation)
	var codes struct{ Data []struct{ ID string } }
	p.Do("POST", "/v1/redeem-codes", coaitest.AdminKey, object{"credit": 1}).JSON(t, &codes)
	cases := map[string]struct{ call, action string }{
		"createChannel":      {`(input: {name: "made", type: ECHO, models: ["m"]})`, "channel.created"},
		"updateChannel":      {`(id: "` + id + `", input: {credential: "sk-another-secret-9876", weight: 2})`, "channel.updated"},
		"cloneChannel":       {`(id: "` + id + `")`, "channel.cloned"},
		"reorderChannels":    {`(input: {channels: [{id: "` + id + `", priority: 5}]})`, "channels.reordered"},
		"bulkChannels":       {`(input: {action: SET_TAGS, tags: ["eu"], ids: ["` + id + `"]})`, "channel.updated"},
		"syncChannelModels":  {`(id: "` + id + `")`, "channel.models_synced"},
		"testChannel":        {`(id: "` + id + `")`, "channel.tested"},
		"resetChannelHealth": {`(id: "` + id + `")`, "channel.health_reset"},
		"deleteChannel":      {`(id: "` + doomed + `")`, "channel.deleted"},
		"createModel":        {`(input: {name: "described"})`, "model.created"},
		"updateModel":        {`(id: "echo", input: {displayName: "Echo!"})`, "model.updated"},
		"saveModel":          {`(input: {name: "saved"})`, "model.saved"},
		"deleteModel":        {`(id: "echo")`, "model.deleted"},
		"importModelPrices":  {`(input: {catalogue: {m: {input_cost_per_token: 0.000001, output_cost_per_token: 0.000002, mode: "chat"}}})`, "model_prices.imported"},
		"updateUser":         {`(id: "` + me.ID + `", input: {groups: ["legal"]})`, "user.updated"},
		"updateUserBudgets":  {`(userId: "` + me.ID + `", input: {daily: "100"})`, "user.budgets_updated"},
		"adjustBalance":      {`(userId: "` + me.ID + `", input: {amount: "5", note: "hello"})`, "user.balance_adjusted"},
		"createUser":         {`(input: {email: "made@example.com"})`, "user.created"},
		"deleteUser":         {`(id: "` + gone.ID + `")`, "user.deleted"},
		"createInvitation":   {`(input: {})`, "invitation.created"},
		"deleteInvitation":   {`(id: "` + invitation.ID + `")`, "invitation.deleted"},
		"recordPayment":      {`(input: {userId: "` + me.ID + `", amount: "1"})`, "payment.recorded"},
		"createRedeemCodes":  {`(input: {credit: "1"})`, "redeem_codes.created"},
		"disableRedeemCode":  {`(id: "` + codes.Data[0].ID + `")`, "redeem_code.disabled"},
		"runJob":             {`(name: "housekeeping")`, "job.run"},
		"updatePlan":         {`(tier: PRO, input: {requestsPerMinute: 7, concurrency: 3})`, "plan.updated"},
	}
	mutations := adminMutations(t)
	if len(mutations) < len(cases) {
		t.Fatalf("the schema has the admins' mutations %v", mutations)
	}
	for _, name := range mutations {
		c, ok := cases[name]
		if !ok {
			t.Errorf("the mutation %s is for admins, and no case here shows that it is audited", name)
			continue
		}
		before := auditLog(t, p, "limit=1").Total
		var done map[string]struct{ UserErrors []object }
		if errs := p.GraphQL(coaitest.AdminKey, `mutation { `+name+c.call+` { userErrors { message field } } }`, nil, &done); len(errs) > 0 || len(done[name].UserErrors) > 0 {
			t.Errorf("%s: %+v %+v", name, errs, done)
			continue
		}
		log := auditLog(t, p, "")
		if log.Total != before+1 || log.Data[0].Action != c.action {
			t.Errorf("%s: %d new entries, the newest %+v", name, log.Total-before, log.Data[0])
		}
		e := log.Data[0]
		if e.Object != "audit_log" || e.ActorID != me.ID || e.APIKeyID == nil || e.RequestID == nil || e.Address == nil || *e.Address != "127.0.0.1" || e.CreatedAt == 0 {
			t.Errorf("%s: %+v", name, e)
		}
	}
	all := string(p.Do("GET", "/v1/audit-logs?limit=100", coaitest.AdminKey, nil).Body)
	for _, secret := range []string{coaitest.UpstreamKey, "sk-another-secret-9876", coaitest.AdminKey} {
		if strings.Contains(all, secret) {
			t.Errorf("the audit log holds %s", secret)
		}
	}
	if e := auditLog(t, p, "action=channel.updated&order=asc&target_id="+id).Data[0]; e.After["credential"] != "****9876" || e.After["weight"] != 2.0 || e.Before["weight"] != 1.0 || e.After["name"] != nil {
		t.Errorf("what changed: %+v", e)
	}
}

// adminMutations are the mutations whose description says that they are for admins.
func adminMutations(t *testing.T) (names []string) {
	t.Helper()
	src, err := os.ReadFile("../../schema.graphql")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := parser.ParseSchema(&ast.Source{Name: "schema.graphql", Input: string(src)})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range doc.Definitions.ForName("Mutation").Fields {
		if strings.Contains(f.Description, "Scope: `ADMIN`") {
			names = append(names, f.Name)
		}
	}
	return names
}

// The log pages by both ways and on both faces, and is for admins alone.
func TestAuditLogOverBothFaces(t *testing.T) {
	coaitest.Each(t, func(t *testing.T, b coaitest.Backends) {
		t.Parallel()
		p := coaitest.Start(t, b)
		for _, minute := range []int{11, 12, 13} {
			if res := p.Do("PATCH", "/v1/plans/free", coaitest.AdminKey, object{"requests_per_minute": minute}); res.Status != http.StatusOK {
				t.Fatalf("%d %s", res.Status, res.Body)
			}
		}
		first := auditLog(t, p, "limit=2&action=plan.updated")
		if first.Total != 3 || !first.HasMore || len(first.Data) != 2 || first.Data[0].After["requests_per_minute"] != 13.0 || first.Data[0].Before["requests_per_minute"] != 12.0 || len(first.Data[0].After) != 1 {
			t.Errorf("%+v", first)
		}
		if rest := auditLog(t, p, "limit=2&action=plan.updated&after="+first.LastID); len(rest.Data) != 1 || rest.HasMore || rest.Data[0].After["requests_per_minute"] != 11.0 {
			t.Errorf("%+v", rest)
		}
		if skipped := auditLog(t, p, "offset=2&target_type=plan"); len(skipped.Data) != 1 {
			t.Errorf("%+v", skipped)
		}
		if none := auditLog(t, p, "until=2020-01-01"); none.Total != 0 {
			t.Errorf("%+v", none)
		}
		if res := p.Do("GET", "/v1/audit-logs?since=yesterday", coaitest.AdminKey, nil); res.Status != 400 || *res.Error(t).Param != "since" {
			t.Errorf("%d %s", res.Status, res.Body)
		}
		var q struct {
			AuditLog struct {
				TotalCount int
				Nodes      []struct {
					Action, TargetType string
					ActorID            string `json:"actorId"`
					Before, After      object
				}
				PageInfo struct{ EndCursor string }
			}
		}
		const query = `query($after: String, $f: AuditFilter) { auditLog(first: 2, after: $after, filter: $f) { totalCount nodes { action targetType actorId before after } pageInfo { endCursor } } }`
		if errs := p.GraphQL(coaitest.AdminKey, query, object{"f": object{"targetType": "plan", "since": "2020-01-01T00:00:00Z"}}, &q); len(errs) > 0 || q.AuditLog.TotalCount != 3 || len(q.AuditLog.Nodes) != 2 || q.AuditLog.Nodes[0].After["requests_per_minute"] != 13.0 {
			t.Errorf("%+v %+v", errs, q)
		}
		user := p.OtherUserKey("other@example.com", keyInput("other"))
		for _, key := range []string{p.UserKey(nil), user} {
			if res := p.Do("GET", "/v1/audit-logs", key, nil); res.Status != http.StatusForbidden {
				t.Errorf("a user reads the audit log: %d", res.Status)
			}
			if errs := p.GraphQL(key, query, nil, nil); len(errs) != 1 || errs[0].Extensions.Code != "insufficient_scope" {
				t.Errorf("a user reads the audit log: %+v", errs)
			}
		}
		operated := auditLog(t, p, "actor_id=operator&order=asc")
		if operated.Total != 2 || operated.Data[0].Action != "user.created" || operated.Data[1].Action != "api_key.created" || operated.Data[1].APIKeyID != nil {
			t.Errorf("what the operator did: %+v", operated)
		}
	})
}
