package machine

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
)

// Tokens derives the secrets of sandboxes from the node's secret, so that they
// are the same after a restart or a resume and are stored nowhere.
type Tokens struct{ Secret []byte }

// Settings has the values that a node makes once.
type Settings interface {
	GetOrMake(ctx context.Context, name string, make func() ([]byte, error)) ([]byte, error)
}

// TokensOf returns the tokens of a node. The first call makes its secret.
func TokensOf(ctx context.Context, settings Settings) (t Tokens, err error) {
	t.Secret, err = settings.GetOrMake(ctx, "token_secret", func() ([]byte, error) {
		b := make([]byte, 32)
		_, err := rand.Read(b)
		return b, err
	})
	return t, err
}

// Envd is the token of the agent's clients.
func (t Tokens) Envd(id string) string { return t.derive("envd", id) }

// Traffic is the token of clients of the other ports.
func (t Tokens) Traffic(id string) string { return t.derive("traffic", id) }

// Control is the token by which the daemon controls the agent.
func (t Tokens) Control(id string) string { return t.derive("control", id) }

func (t Tokens) derive(purpose, id string) string {
	h := hmac.New(sha256.New, t.Secret)
	h.Write([]byte(purpose + ":" + id))
	return hex.EncodeToString(h.Sum(nil))
}
