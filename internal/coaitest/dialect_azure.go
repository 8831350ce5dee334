package coaitest

import (
	"net/http"
	"strings"

	"github.com/coaidev/coai/models"
)

// Azure is the language of Azure OpenAI: OpenAI's, with its own failures.
// https://learn.microsoft.com/azure/ai-services/openai/reference
func Azure() Dialect {
	return Dialect{Name: "azure", Type: models.ChannelAzure, Say: sayAzure, Refuse: RefuseAzure}
}

func sayAzure(w http.ResponseWriter, c *Call, a Answer) {
	if !strings.HasPrefix(c.Path, "/openai/deployments/") || c.Header.Get("Api-Key") != UpstreamKey {
		RefuseAzure(w, c, RefuseCredential)
		return
	}
	sayOpenAI(w, c, a)
}

// RefuseAzure refuses in Azure's form.
func RefuseAzure(w http.ResponseWriter, c *Call, r Refusal) {
	refuse := func(status int, code, message string, headers ...string) {
		Status(status, "application/json", `{"error":{"code":`+Quote(code)+`,"message":`+Quote(message+" "+UpstreamKey)+`}}`, headers...)(w, c)
	}
	switch r {
	case RefuseBadRequest:
		refuse(http.StatusBadRequest, "BadRequest", "That is not possible.")
	case RefuseFilter:
		Status(http.StatusBadRequest, "application/json", `{"error":{"message":"The response was filtered due to the prompt triggering Azure OpenAI's content management policy. `+UpstreamKey+
			`","type":null,"param":"prompt","code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation","content_filter_result":{"hate":{"filtered":true,"severity":"high"}}}}}`)(w, c)
	case RefuseCredential:
		refuse(http.StatusUnauthorized, "401", "Access denied due to invalid subscription key or wrong API endpoint.")
	case RefuseModel:
		refuse(http.StatusNotFound, "DeploymentNotFound", "The API deployment for this resource does not exist.")
	case RefuseRate:
		refuse(http.StatusTooManyRequests, "429", "Requests have exceeded call rate limit of your current OpenAI S0 pricing tier. Please retry after 7 seconds.", "Retry-After", "7")
	case RefuseOverloaded:
		refuse(http.StatusServiceUnavailable, "InternalServerError", "Backend returned unexpected response.")
	case RefuseUnavailable:
		refuse(http.StatusInternalServerError, "InternalServerError", "The server had an error.")
	case RefuseContext, RefuseHTML:
		RefuseOpenAI(w, c, r)
	}
}
