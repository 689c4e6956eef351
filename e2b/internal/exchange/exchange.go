// Package exchange is what all operations of the API do alike: it reads the bodies of requests, and
// answers. It may import sandbox, the generated API and other packages of e2b/internal; only packages of e2b import it.
package exchange

import "context"

type (
	keyIDKey   struct{}
	recheckKey struct{}
)

// WithKey is the context of a request that was made with an API key.
func WithKey(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, keyIDKey{}, id)
}

// WithRecheck is the context of a request whose key can be checked again, by valid.
func WithRecheck(ctx context.Context, valid func() bool) context.Context {
	return context.WithValue(ctx, recheckKey{}, valid)
}

// StillValid reports whether the key of a request that lasts is valid still.
func StillValid(ctx context.Context) bool {
	valid, ok := ctx.Value(recheckKey{}).(func() bool)
	return !ok || valid()
}

// KeyID is the API key that made the request.
func KeyID(ctx context.Context) string {
	id, _ := ctx.Value(keyIDKey{}).(string)
	return id
}
