package models

import (
	"slices"
	"strings"
)

// ChannelPreset is a well-known upstream: what a channel to it has in common
// with every other. An input that names it may leave out what it says.
type ChannelPreset struct {
	ID      string         `json:"id"`   // what an input's preset names
	Name    string         `json:"name"` // for people
	Type    ChannelType    `json:"type"`
	BaseURL string         `json:"base_url"`
	Headers StringMap      `json:"headers"`
	Quirks  []ChannelQuirk `json:"quirks"`
	// Local says that it runs on one's own machine: it needs no credential, and the
	// base URL is that of a server on this machine with its default port.
	Local bool `json:"local"`
}

// ChannelPresets are the upstreams that are known by name, hosted ones first.
func ChannelPresets() []ChannelPreset {
	plain := []ChannelQuirk{QuirkMaxTokens, QuirkNoDeveloperRole} // OpenAI's API as it was in 2023
	hosted := func(id, name, url string, quirks ...ChannelQuirk) ChannelPreset {
		return ChannelPreset{ID: id, Name: name, Type: ChannelOpenAI, BaseURL: url, Headers: StringMap{}, Quirks: append([]ChannelQuirk{}, quirks...)}
	}
	local := func(id, name, url string, quirks ...ChannelQuirk) ChannelPreset {
		p := hosted(id, name, url, quirks...)
		p.Local = true
		return p
	}
	of := func(t ChannelType, p ChannelPreset) ChannelPreset {
		p.Type, p.BaseURL = t, t.DefaultBaseURL()
		return p
	}
	return []ChannelPreset{
		hosted("openai", "OpenAI", "https://api.openai.com/v1", QuirkResponses),
		hosted("openrouter", "OpenRouter", "https://openrouter.ai/api/v1"),
		hosted("deepseek", "DeepSeek", "https://api.deepseek.com/v1", plain...),
		hosted("groq", "Groq", "https://api.groq.com/openai/v1"),
		hosted("mistral", "Mistral", "https://api.mistral.ai/v1", append(plain, QuirkNoStreamOptions)...),
		hosted("moonshot", "Moonshot", "https://api.moonshot.ai/v1", plain...),
		hosted("qwen", "Qwen (DashScope)", "https://dashscope-intl.aliyuncs.com/compatible-mode/v1", plain...),
		hosted("xai", "xAI", "https://api.x.ai/v1"),
		hosted("together", "Together", "https://api.together.xyz/v1", plain...),
		hosted("fireworks", "Fireworks", "https://api.fireworks.ai/inference/v1", plain...),
		hosted("cerebras", "Cerebras", "https://api.cerebras.ai/v1"),
		hosted("perplexity", "Perplexity", "https://api.perplexity.ai", plain...),
		hosted("siliconflow", "SiliconFlow", "https://api.siliconflow.cn/v1", plain...),
		hosted("zhipu", "Zhipu", "https://open.bigmodel.cn/api/paas/v4", plain...),
		hosted("nvidia", "NVIDIA", "https://integrate.api.nvidia.com/v1", plain...),
		of(ChannelAnthropic, hosted("anthropic", "Anthropic", "")),
		of(ChannelGemini, hosted("gemini", "Google Gemini", "")),
		of(ChannelOllama, local("ollama", "Ollama", "")),
		local("vllm", "vLLM", "http://127.0.0.1:8000/v1"),
		local("sglang", "SGLang", "http://127.0.0.1:30000/v1"),
		local("lmstudio", "LM Studio", "http://127.0.0.1:1234/v1", plain...),
		local("localai", "LocalAI", "http://127.0.0.1:8080/v1", plain...),
		local("llamacpp", "llama.cpp", "http://127.0.0.1:8080/v1", plain...),
	}
}

// usePreset fills in what the input leaves to its preset.
func (in *CreateChannelInput) usePreset() error {
	if in.Preset == nil {
		return nil
	}
	presets := ChannelPresets()
	i := slices.IndexFunc(presets, func(p ChannelPreset) bool { return p.ID == *in.Preset })
	if i < 0 {
		names := make([]string, len(presets))
		for n := range presets {
			names[n] = presets[n].ID
		}
		return Invalid("preset", "'preset' must be one of %s; got '%s'.", strings.Join(names, ", "), clip(*in.Preset, 40))
	}
	p := &presets[i]
	switch {
	case in.Type == "":
		in.Type = p.Type
	case in.Type != p.Type:
		return Invalid("type", "The preset '%s' is of type %s: leave 'type' out.", p.ID, p.Type)
	}
	if in.BaseURL == nil {
		in.BaseURL = &p.BaseURL
	}
	if !p.Local && (in.Credential == nil || *in.Credential == "") {
		return Missing("credential")
	}
	settings := ChannelSettings{}
	if in.Settings != nil {
		settings = *in.Settings
	}
	if settings.Quirks == nil && len(p.Quirks) > 0 {
		settings.Quirks = p.Quirks
	}
	if settings.Headers == nil && len(p.Headers) > 0 {
		settings.Headers = p.Headers
	}
	in.Settings = &settings
	return nil
}
