// Package exchange is what all operations of the API do alike: it reads the bodies of requests, and
// answers. It may import sandbox, the generated API and other packages of e2b/internal; only packages of e2b import it.
package exchange

import "context"

type keyIDKey struct{}

// WithKey is the context of a request that was made with an API key.
func WithKey(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, keyIDKey{}, id)
}

// KeyID is the API key that made the request.
func KeyID(ctx context.Context) string {
	id, _ := ctx.Value(keyIDKey{}).(string)
	return id
}
