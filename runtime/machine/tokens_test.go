package machine

import "testing"

func TestTokensDifferByPurposeAndSandboxAndStayTheSame(t *testing.T) {
	tokens := Tokens{Secret: []byte("secret")}
	seen := map[string]string{}
	for name, token := range map[string]string{
		"envd of a": tokens.Envd("a"), "traffic of a": tokens.Traffic("a"), "control of a": tokens.Control("a"),
		"envd of b": tokens.Envd("b"), "of another node": Tokens{Secret: []byte("other")}.Envd("a"),
	} {
		if other, ok := seen[token]; ok {
			t.Errorf("%s has the token %s", name, other)
		}
		seen[token] = name
	}
	if (Tokens{Secret: []byte("secret")}).Envd("a") != tokens.Envd("a") {
		t.Error("the token is another after a restart")
	}
}
