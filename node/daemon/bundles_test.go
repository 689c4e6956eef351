package daemon

import (
	"net/http"
	"strings"
	"testing"
)

// Clients name a bundle in allowOut, see it as they gave it, and learn which there are from the refusal of another.
func TestBundlesOverTheWire(t *testing.T) {
	s := newSecretive(t)
	const all = `"denyOut":["0.0.0.0/0"]`
	create := func(network string) string { return `{"templateID":"base","timeout":600,"network":` + network + `}` }
	code, answer := s.do("POST", "/v2/sandboxes", create(`{"allowOut":["bundle:pypi","a.example"],`+all+`}`))
	if code != http.StatusCreated {
		t.Fatal(code, answer)
	}
	id := s.id(answer)
	shows := func(want string) {
		t.Helper()
		if _, detail := s.do("GET", "/sandboxes/"+id, ""); !strings.Contains(detail, `"network":`+want) {
			t.Errorf("%s, want %s", detail, want)
		}
	}
	shows(`{"allowOut":["bundle:pypi","a.example"],` + all + `}`)
	for network, want := range map[string]string{
		`{"allowOut":["bundle:nothing"],` + all + `}`:                     `allowOut: \"bundle:nothing\" is not a bundle; bundles are alpine, anthropic, conda, crates, debian, docker-hub, `,
		`{"allowOut":["bundle:"],` + all + `}`:                            `is not a bundle`,
		`{"allowOut":["Bundle:pypi"],` + all + `}`:                        `is not an address`,
		`{"allowOut":["bundle:pypi"]}`:                                    `names and bundles in allowOut need denyOut with 0.0.0.0/0`,
		`{"allowOut":["bundle:pypi"],"denyOut":["1.0.0.0/8"]}`:            `need denyOut with 0.0.0.0/0`,
		`{"denyOut":["0.0.0.0/0","bundle:pypi"]}`:                         `\"bundle:pypi\": denyOut takes addresses`,
		`{"rules":{"bundle:pypi":[{"transform":{"headers":{"A":"b"}}}]}}`: `rules: \"bundle:pypi\" is not a host name`,
	} {
		for _, call := range [][3]string{{"POST", "/v2/sandboxes", create(network)}, {"PUT", "/sandboxes/" + id + "/network", network}} {
			if code, answer := s.do(call[0], call[1], call[2]); code != http.StatusBadRequest || !strings.Contains(answer, want) {
				t.Errorf("%s %s: %d %s, want 400 with %s", call[0], network, code, answer, want)
			}
		}
	}
	shows(`{"allowOut":["bundle:pypi","a.example"],` + all + `}`) // No refusal has changed it.
	if code, answer := s.do("PUT", "/sandboxes/"+id+"/network", `{"allow_internet_access":false,"allowOut":["bundle:npm","bundle:github"]}`); code != http.StatusNoContent {
		t.Errorf("change: %d %s", code, answer)
	}
	shows(`{"allowOut":["bundle:npm","bundle:github"]}`)
	s.do("POST", "/sandboxes/"+id+"/pause", "")
	if code, answer := s.do("POST", "/v2/sandboxes/"+id+"/connect", `{"timeout":600}`); code >= 300 {
		t.Errorf("resume: %d %s", code, answer)
	}
	shows(`{"allowOut":["bundle:npm","bundle:github"]}`)
	if code, answer := s.do("DELETE", "/sandboxes/"+id, ""); code != http.StatusNoContent {
		t.Errorf("kill: %d %s", code, answer)
	}
}
