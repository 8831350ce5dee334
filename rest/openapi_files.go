package rest

// uploadInput is the form of an upload, for the description: the form itself is
// read as it arrives.
type uploadInput struct {
	File    string  `json:"file"` // its bytes
	Purpose string  `json:"purpose"`
	Anchor  *string `json:"expires_after[anchor],omitempty"`
	Seconds *int    `json:"expires_after[seconds],omitempty"`
}

// fileOperations describe the routes of files.
func fileOperations() map[string]operation {
	return map[string]operation{
		"Query.files":         {response: listed{fileView{}}, pages: true, query: []parameter{{name: "purpose", about: "Only files with this purpose.", enum: []string{"assistants", "batch", "fine-tune", "vision", "user_data", "evals"}}}},
		"Mutation.uploadFile": {request: uploadInput{}, form: true, required: []string{"file", "purpose"}, response: fileView{}},
		"Query.file":          {response: fileView{}},
		"Mutation.deleteFile": {response: deletedView{}},
		"Query.fileContent":   {media: []string{"*/*"}},
	}
}
