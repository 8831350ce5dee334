package models

import "github.com/99designs/gqlgen/graphql"

// Omittable is an input field that may be absent, which is not the same as null.
type Omittable[T any] = graphql.Omittable[T]

// OmittableOf is a field that was given.
func OmittableOf[T any](v T) Omittable[T] { return graphql.OmittableOf(v) }
