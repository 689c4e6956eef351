package client

import (
	"context"
	"net/http"

	"github.com/rundlet/rundlet/api/gen/openapi"
)

// Network is what a sandbox may reach. The zero value is everything but private addresses, which none reaches.
type Network struct {
	// Internet false denies everything that Allow does not have; nil is true.
	Internet *bool
	// Allow and Deny have addresses and CIDR blocks. What is allowed wins.
	Allow, Deny []string
}

// Network returns the rules of a sandbox.
func (a API) Network(ctx context.Context, id string) (Network, error) {
	var detail openapi.SandboxDetail
	if _, err := a.call(ctx, http.MethodGet, sandboxPath(id), nil, &detail); err != nil {
		return Network{}, err
	}
	n := Network{Internet: detail.AllowInternetAccess}
	if detail.Network != nil {
		n.Allow, n.Deny = detail.Network.AllowOut, detail.Network.DenyOut
	}
	return n, nil
}

// SetNetwork replaces the rules of a running sandbox. They are in force when it returns: connections that they do
// not allow are cut, and the others go on.
func (a API) SetNetwork(ctx context.Context, id string, n Network) error {
	body := openapi.SandboxNetworkUpdate{AllowInternetAccess: n.Internet, AllowOut: n.Allow, DenyOut: n.Deny}
	_, err := a.call(ctx, http.MethodPut, sandboxPath(id)+"/network", body, nil)
	return err
}
