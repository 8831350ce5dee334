package accounts

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/coaidev/coai/models"
)

// A key must not hand out more than it has itself: the functions below hold
// what a new or changed key is to permit against the viewer's own key. All
// their failures are 403.

// grantScopes gives the scopes of a new key that asks for these: without any,
// the default ones that the viewer has.
func grantScopes(v *models.Viewer, scopes []models.Scope) ([]models.Scope, error) {
	if len(scopes) == 0 {
		return slices.DeleteFunc(models.DefaultScopes(), func(s models.Scope) bool {
			return !slices.Contains(v.Scopes, s)
		}), nil
	}
	for i, s := range scopes {
		if err := v.Require(s); err != nil {
			e := models.Forbidden(models.CodeInsufficientScope,
				"The scope '%s' cannot be given to a key: the key that asks for it does not have it.", s)
			if s == models.ScopeAdmin && slices.Contains(v.Scopes, s) {
				e.Message = "The scope 'admin' can be given only to keys of admins."
			}
			e.Param = fmt.Sprintf("scopes[%d]", i)
			return nil, e
		}
	}
	return scopes, nil
}

// grantModels gives the models of a key that asks for these, where none means
// all.
func grantModels(v *models.Viewer, names []string) ([]string, error) {
	if len(v.AllowedModels) == 0 {
		return notNil(names), nil
	}
	if len(names) == 0 {
		return nil, wider(models.CodeModelNotAllowed, "allowed_models", "all models")
	}
	for i, name := range names {
		if !v.MayUse(name) {
			return nil, wider(models.CodeModelNotAllowed, fmt.Sprintf("allowed_models[%d]", i), "that model")
		}
	}
	return names, nil
}

// grantTags gives the channel tags of a key that asks for these, where none means
// all channels.
func grantTags(v *models.Viewer, tags []string) ([]string, error) {
	if len(v.ChannelTags) == 0 {
		return notNil(tags), nil
	}
	if len(tags) == 0 {
		return nil, wider(models.CodeInsufficientScope, "channel_tags", "all channels")
	}
	for i, tag := range tags {
		if !slices.Contains(v.ChannelTags, tag) {
			return nil, wider(models.CodeInsufficientScope, fmt.Sprintf("channel_tags[%d]", i), "that tag")
		}
	}
	return tags, nil
}

// grantNetworks gives the networks of a key that asks for these, where none
// means all.
func grantNetworks(v *models.Viewer, cidrs []string) ([]string, error) {
	if len(v.AllowedCIDRs) == 0 {
		return notNil(cidrs), nil
	}
	if len(cidrs) == 0 {
		return nil, wider(models.CodeIPNotAllowed, "allowed_cidrs", "all networks")
	}
	mine := networks(v.AllowedCIDRs)
	for i, inner := range networks(cidrs) {
		if !slices.ContainsFunc(mine, func(outer netip.Prefix) bool { return covers(outer, inner) }) {
			return nil, wider(models.CodeIPNotAllowed, fmt.Sprintf("allowed_cidrs[%d]", i), "that network")
		}
	}
	return cidrs, nil
}

// mayHold fails unless the viewer may come to know the key's secret: whoever
// holds it can do all that the key permits.
func mayHold(v *models.Viewer, key *models.APIKey) error {
	for _, s := range key.Scopes {
		if !slices.Contains(v.Scopes, s) {
			return models.Forbidden(models.CodeInsufficientScope,
				"A key cannot be rotated by one that permits less: this one lacks the scope '%s'.", s)
		}
	}
	if _, err := grantModels(v, key.AllowedModels); err != nil {
		return models.Forbidden(models.CodeModelNotAllowed,
			"A key cannot be rotated by one that permits less: this one may use fewer models.")
	}
	if _, err := grantTags(v, key.ChannelTags); err != nil {
		return models.Forbidden(models.CodeInsufficientScope,
			"A key cannot be rotated by one that permits less: this one may use fewer channels.")
	}
	if _, err := grantNetworks(v, key.AllowedCIDRs); err != nil {
		return models.Forbidden(models.CodeIPNotAllowed,
			"A key cannot be rotated by one that permits less: this one may be used from fewer networks.")
	}
	return nil
}

func covers(outer, inner netip.Prefix) bool {
	return outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}

func wider(code, param, what string) error {
	e := models.Forbidden(code, "A key cannot be given %s: the key that asks for it is itself restricted.", what)
	e.Param = param
	return e
}

// notNil keeps lists from being written as null.
func notNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
