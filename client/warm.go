package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/rundlet/rundlet/api/gen/openapi"
)

// WarmTemplate says how many sandboxes of a template the server keeps running for the next creates.
type WarmTemplate struct {
	Name string `json:"name"`
	// Ready is how many it keeps, and Now how many there are.
	Ready int `json:"ready"`
	Now   int `json:"now"`
	// Set: a client said so; otherwise the server was started with it.
	Set bool `json:"set"`
	// Missing: the template does not exist, or none of its builds has the default tag.
	Missing bool `json:"missing"`
}

// WarmTemplates returns what the server keeps warm, by name.
func (a API) WarmTemplates(ctx context.Context) ([]WarmTemplate, error) {
	list := []WarmTemplate{}
	_, err := a.call(ctx, http.MethodGet, "/warm", nil, &list)
	return list, err
}

// KeepWarm keeps so many sandboxes of a template running from now on, also after the server's next start; nil: as many as the server was
// started with. It does not wait for them.
func (a API) KeepWarm(ctx context.Context, name string, ready *int) (err error) {
	path := "/warm/" + url.PathEscape(name)
	if ready == nil {
		_, err = a.call(ctx, http.MethodDelete, path, nil, nil)
	} else {
		_, err = a.call(ctx, http.MethodPut, path, openapi.WarmTarget{Ready: ready}, nil)
	}
	return err
}
