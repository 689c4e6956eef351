//go:build linux

package process

import (
	"slices"
	"testing"

	"github.com/rundlet/rundlet/agent/account"
)

func TestLaterVariablesWin(t *testing.T) {
	t.Setenv("PATH", "/agent")
	u := account.User{Name: "ann", Home: "/home/ann"}
	image := map[string]string{"PATH": "/image", "HOME": "/image", "USER": "image", "A": "image", "B": "image", "C": "image"}
	got := environment(u, image, map[string]string{"B": "sandbox", "C": "sandbox", "USER": "sandbox"}, map[string]string{"C": "request"})
	want := []string{"A=image", "B=sandbox", "C=request", "HOME=/home/ann", "LOGNAME=ann", "PATH=/agent", "USER=sandbox"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
