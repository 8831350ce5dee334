package rest

import "github.com/coaidev/coai/models"

// adminOperations describe what an operator does: channels and models in bulk,
// plans, jobs and the audit log.
func adminOperations() map[string]operation {
	return map[string]operation{
		"Mutation.reorderChannels":   {request: models.ReorderChannelsInput{}, required: []string{"channels"}, example: `{"channels":[{"id":"channel_x","priority":10}]}`, response: listed{channelView{}}},
		"Mutation.bulkChannels":      {request: models.BulkChannelsInput{}, required: []string{"action"}, example: `{"action":"disable","ids":["channel_x"]}`, response: bulkView{}},
		"Mutation.cloneChannel":      {request: models.CloneChannelInput{}, optional: true, example: `{"name":"Spare"}`, response: channelView{}},
		"Query.channelModels":        {response: channelModelsView{}},
		"Mutation.syncChannelModels": {request: models.SyncChannelModelsInput{}, optional: true, example: `{"remove_missing":true}`, response: channelSyncView{}},
		"Mutation.createModel":       {request: models.SaveModelInput{}, required: []string{"name"}, example: `{"name":"house-model","display_name":"House model"}`, response: modelView{}},
		"Mutation.updateModel":       {request: models.UpdateModelInput{}, example: `{"display_name":"House model"}`, response: modelView{}},
		"Mutation.saveModel":         {request: models.SaveModelInput{}, example: `{"display_name":"House model"}`, response: modelView{}},
		"Mutation.deleteModel":       {response: deletedView{}},
		"Query.plans":                {response: listed{planView{}}},
		"Mutation.updatePlan":        {request: models.UpdatePlanInput{}, example: `{"requests_per_minute":60}`, response: planView{}},
		"Query.jobs":                 {response: listed{jobView{}}},
		"Mutation.runJob":            {response: jobView{}},
		"Query.auditLog": {response: listed{auditEntryView{}}, pages: true, query: []parameter{
			{name: "actor_id", about: "Only what this user did."},
			{name: "action", about: "Only this action, such as `channel.updated`."},
			{name: "target_type", about: "Only what was done to things of this type, such as `channel`."},
			{name: "target_id", about: "Only what was done to this."},
			{name: "since", about: "The first moment: a time of ISO 8601, or a date, which is midnight."},
			{name: "until", about: "The end, itself outside: as `since`."},
		}},
	}
}
