package account

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func TestResolve(t *testing.T) {
	dir := t.TempDir()
	passwd, group := filepath.Join(dir, "passwd"), filepath.Join(dir, "group")
	for path, text := range map[string]string{
		passwd: "root:x:0:0::/root:/bin/sh\nuser:x:1000:100::/home/user:/bin/sh\n2000:x:1001:1001::/odd:/bin/sh\n",
		group:  "users:x:100:\nwheel:x:10:user\n3000:x:11:\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	db := Open(passwd, group)
	for text, want := range map[string]string{
		"user":        "user 1000:100 /home/user",
		"user:":       "user 1000:100 /home/user",
		"user:wheel":  "user 1000:10 /home/user",
		"user:77":     "user 1000:77 /home/user",
		"root:0":      "root 0:0 /root",
		"1000":        "user 1000:100 /home/user",
		"1000:1000":   "user 1000:1000 /home/user",
		"2000":        "2000 1001:1001 /odd",
		"user:3000":   "user 1000:11 /home/user",
		"4242":        "4242 4242:4242 /",
		"4242:wheel":  "4242 4242:10 /",
		"4294967294":  "4294967294 4294967294:4294967294 /",
		"4294967295":  "unknown user",
		"":            "unknown user",
		":wheel":      "unknown user",
		"absent":      "unknown user",
		"-1":          "unknown user",
		"user:none":   "unknown group",
		"user:wheel:": "unknown group",
		"user:-1":     "unknown group",

		"user:4294967295": "unknown group",
	} {
		u, err := db.Resolve(text)
		got := fmt.Sprintf("%s %d:%d %s", u.Name, u.UID, u.GID, u.Home)
		if errors.Is(err, ErrUnknown) {
			got = "unknown user"
		} else if errors.Is(err, ErrUnknownGroup) {
			got = "unknown group"
		} else if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
	if _, err := Open(dir, group).Resolve("0"); err == nil || errors.Is(err, ErrUnknown) {
		t.Errorf("a file that cannot be read: %v", err)
	}
}
