package control

import (
	"net/http"
	"strings"
)

// router is two muxes: "/templates/aliases/{alias}" and "/templates/{templateID}/tags" both match
// "/templates/aliases/tags", which one mux does not take. As at E2B, it is an alias.
type router struct{ aliases, others *http.ServeMux }

func newRouter() *router { return &router{http.NewServeMux(), http.NewServeMux()} }

// HandleFunc is that of http.ServeMux.
func (m *router) HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request)) {
	if strings.Contains(pattern, " /templates/aliases/") {
		m.aliases.HandleFunc(pattern, handler)
	} else {
		m.others.HandleFunc(pattern, handler)
	}
}

// of returns the mux for a request.
func (m *router) of(r *http.Request) *http.ServeMux {
	if _, pattern := m.aliases.Handler(r); pattern != "" {
		return m.aliases
	}
	return m.others
}

// matches reports whether there is a handler for a request.
func (m *router) matches(r *http.Request) bool {
	_, pattern := m.of(r).Handler(r)
	return pattern != ""
}

// ServeHTTP is that of http.ServeMux.
func (m *router) ServeHTTP(w http.ResponseWriter, r *http.Request) { m.of(r).ServeHTTP(w, r) }
