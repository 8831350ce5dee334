package anthropic

// ReadsDocuments is providers.DocumentReader's: PDF files go to the upstream as they are.
func (p *Provider) ReadsDocuments() bool { return true }
