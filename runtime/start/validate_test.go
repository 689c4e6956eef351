package start

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rundlet/rundlet/policy/egress"
	"github.com/rundlet/rundlet/runtime/machine"
	"github.com/rundlet/rundlet/sandbox"
)

// checks reaches all proxies but one.
type checks struct{ machine.Network }

func (checks) CheckProxy(_ context.Context, p egress.Policy) error {
	if p.Proxy.Host == "inside.example" {
		return sandbox.ErrInvalid
	}
	return nil
}

func through(address string) sandbox.Egress {
	return sandbox.Egress{Proxy: &sandbox.Proxy{Address: address}}
}

func TestTheBoundsOfARequest(t *testing.T) {
	s := &Starter{cfg: Config{MaxTimeout: time.Hour, Network: checks{}}}
	env := func(key string, value int) map[string]string {
		return map[string]string{key: strings.Repeat("x", value)}
	}
	for name, tt := range map[string]struct {
		req  sandbox.CreateRequest
		want error
	}{
		"the shortest timeout":        {sandbox.CreateRequest{Timeout: MinTimeout}, nil},
		"a shorter one":               {sandbox.CreateRequest{Timeout: MinTimeout - 1}, sandbox.ErrInvalid},
		"the longest timeout":         {sandbox.CreateRequest{Timeout: time.Hour}, nil},
		"a longer one":                {sandbox.CreateRequest{Timeout: time.Hour + 1}, sandbox.ErrInvalid},
		"the longest variable":        {sandbox.CreateRequest{Timeout: time.Hour, Env: env("k", sandbox.MaxVariable-3)}, nil},
		"a longer variable":           {sandbox.CreateRequest{Timeout: time.Hour, Env: env("k", sandbox.MaxVariable-2)}, sandbox.ErrInvalid},
		"a variable's name":           {sandbox.CreateRequest{Timeout: time.Hour, Env: env("a=b", 1)}, sandbox.ErrInvalid},
		"as much metadata":            {sandbox.CreateRequest{Timeout: time.Hour, Metadata: env("k", maxMetadataBytes-1)}, nil},
		"a proxy":                     {sandbox.CreateRequest{Timeout: time.Hour, Egress: through("proxy.example:1080")}, nil},
		"a proxy that is none":        {sandbox.CreateRequest{Timeout: time.Hour, Egress: through("proxy.example")}, sandbox.ErrInvalid},
		"a proxy that is not reached": {sandbox.CreateRequest{Timeout: time.Hour, Egress: through("inside.example:1080")}, sandbox.ErrInvalid},
		"more metadata than is":       {sandbox.CreateRequest{Timeout: time.Hour, Metadata: env("k", maxMetadataBytes)}, sandbox.ErrInvalid},
	} {
		if err := s.Validate(t.Context(), tt.req); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
}
