package graph

import (
	"strings"

	"github.com/coaidev/coai/graph/generated"
)

// Descriptions are what the schema says about its types and their fields, by
// name: "Query.usage", "ApiKey.createdAt", "ApiKey". The REST face says the same
// of what it calls alike.
func Descriptions() map[string]string {
	out := map[string]string{}
	for name, def := range generated.NewExecutableSchema(generated.Config{}).Schema().Types {
		if strings.HasPrefix(name, "__") {
			continue
		}
		out[name] = def.Description
		for _, f := range def.Fields {
			out[name+"."+f.Name] = f.Description
		}
	}
	return out
}
