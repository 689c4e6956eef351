package e2b

import (
	"strings"
	"testing"
)

func TestWarmTemplates(t *testing.T) {
	n := newNode(t, Config{})
	for _, tt := range []struct {
		method, path, body string
		code               int
		want               string
	}{
		{"GET", "/warm", "", 200, "[]"},
		{"PUT", "/warm/base", `{"ready":2}`, 204, ""},
		{"GET", "/warm", "", 200, `[{"missing":false,"name":"base","now":0,"ready":2,"set":true}]`},
		{"PUT", "/warm/base", `{"ready":-1}`, 400, "not -1"},
		{"PUT", "/warm/base", `{}`, 400, "ready is missing"},
		{"PUT", "/warm/base", `{"ready":"many"}`, 400, ""},
		{"PUT", "/warm/gone", `{"ready":1}`, 404, "gone"},
		{"PUT", "/warm/a%20b", `{"ready":1}`, 400, ""},
		{"DELETE", "/warm/base", "", 204, ""},
		{"GET", "/warm", "", 200, "[]"},
	} {
		if r := n.do(tt.method, tt.path, tt.body); r.code != tt.code || !strings.Contains(r.body, tt.want) {
			t.Errorf("%s %s %s: %d %s, want %d %s", tt.method, tt.path, tt.body, r.code, r.body, tt.code, tt.want)
		}
	}
}
