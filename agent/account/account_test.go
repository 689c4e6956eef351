package account

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

func TestLookup(t *testing.T) {
	dir := t.TempDir()
	passwd, group := filepath.Join(dir, "passwd"), filepath.Join(dir, "group")
	db := Open(passwd, group)
	if _, err := db.Lookup("root"); !errors.Is(err, ErrUnknown) {
		t.Errorf("without files: %v", err)
	}
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(passwd, "# comment:x:1:1:::\nbroken\nneg:x:-1:1::/:\nuser:x:1000:100:U:/home/user:/bin/bash\nodd:x:5:5::relative:\n")
	write(group, "users:x:100:\nwheel:x:10:root,user\nuserx:x:11:userx\nbad:x:no:user\n")
	u, err := db.Lookup("user")
	if err != nil || u.UID != 1000 || u.GID != 100 || u.Home != "/home/user" || u.Shell != "/bin/bash" || !slices.Equal(u.Groups, []uint32{100, 10}) {
		t.Errorf("%+v %v", u, err)
	}
	if odd, err := db.Lookup("odd"); err != nil || odd.Home != "/" {
		t.Errorf("%+v %v", odd, err)
	}
	for _, name := range []string{"", "neg", "broken", "#", "USER"} {
		if _, err := db.Lookup(name); !errors.Is(err, ErrUnknown) {
			t.Errorf("%q: %v", name, err)
		}
	}
	user, grp := db.Names()
	if user(1000) != "user" || user(7) != "7" || grp(10) != "wheel" || grp(99) != "99" {
		t.Error(user(1000), user(7), grp(10), grp(99))
	}
	// A user that a command added is known at once.
	write(passwd, "late:x:1001:1001::/:/bin/sh\n")
	if err := os.Chtimes(passwd, time.Now(), time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Lookup("late"); err != nil {
		t.Error(err)
	}
}

func TestHostileFiles(t *testing.T) {
	dir := t.TempDir()
	fifo, big := filepath.Join(dir, "fifo"), filepath.Join(dir, "big")
	if err := syscall.Mkfifo(fifo, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(big, make([]byte, maxFileBytes+1), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, big, dir} {
		if _, err := Open(path, path).Lookup("root"); err == nil || errors.Is(err, ErrUnknown) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("root:x:0:0:root:/root:/bin/bash\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, u := range parsePasswd(text) {
			if u.Name == "" || u.Home == "" || u.Home[0] != '/' {
				t.Errorf("%+v", u)
			}
		}
		parseGroup(text)
	})
}
