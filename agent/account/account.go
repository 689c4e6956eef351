// Package account reads the guest's users and groups. The guest owns these
// files, so they are untrusted input: sizes are bounded and nothing is executed.
// It may import the standard library only; the agent's packages import it.
package account

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
)

var (
	// ErrUnknown is a user that the passwd file does not have.
	ErrUnknown = errors.New("unknown user")
	// ErrUnknownGroup is a group that the group file does not have.
	ErrUnknownGroup = errors.New("unknown group")
)

// User is one line of the passwd file and the groups that list it.
type User struct {
	Name     string
	UID, GID uint32
	Home     string
	Shell    string
	// Groups are the supplementary groups, GID included.
	Groups []uint32
}

// DB reads users from a passwd and a group file and rereads them when they
// change. It is safe for concurrent use.
type DB struct {
	passwd, group source

	mu     sync.Mutex
	users  []User
	groups []group
}

type group struct {
	name    string
	gid     uint32
	members []string
}

// Open returns a DB over two files in the form of passwd(5) and group(5). The
// files need not exist yet.
func Open(passwd, group string) *DB {
	return &DB{passwd: source{path: passwd}, group: source{path: group}}
}

// Lookup returns the user of that name. The error is ErrUnknown or says why
// the file could not be read.
func (db *DB) Lookup(name string) (User, error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if err := db.refresh(); err != nil {
		return User{}, err
	}
	for _, u := range db.users {
		if u.Name != name {
			continue
		}
		u.Groups = []uint32{u.GID}
		for _, g := range db.groups {
			if g.gid != u.GID && contains(g.members, name) {
				u.Groups = append(u.Groups, g.gid)
			}
		}
		return u, nil
	}
	return User{}, fmt.Errorf("%w: %q", ErrUnknown, name)
}

// Names returns functions that give the name of a uid and of a gid, or the
// number where there is none. They stay as they are when the files change.
func (db *DB) Names() (user, group func(uint32) string) {
	db.mu.Lock()
	defer db.mu.Unlock()
	// A file that cannot be read leaves the numbers.
	_ = db.refresh()
	users, groups := db.users, db.groups
	user = func(id uint32) string {
		for _, u := range users {
			if u.UID == id {
				return u.Name
			}
		}
		return strconv.FormatUint(uint64(id), 10)
	}
	group = func(id uint32) string {
		for _, g := range groups {
			if g.gid == id {
				return g.name
			}
		}
		return strconv.FormatUint(uint64(id), 10)
	}
	return user, group
}

// refresh rereads what changed. The slices are replaced, never changed in place.
func (db *DB) refresh() error {
	if text, changed, err := db.passwd.read(); err != nil {
		return err
	} else if changed {
		db.users = parsePasswd(text)
	}
	if text, changed, err := db.group.read(); err != nil {
		return err
	} else if changed {
		db.groups = parseGroup(text)
	}
	return nil
}

// parsePasswd skips lines that are not name:pw:uid:gid:gecos:home:shell.
func parsePasswd(text string) []User {
	var users []User
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimRight(line, "\n"), ":")
		if len(f) < 7 || f[0] == "" || strings.HasPrefix(f[0], "#") {
			continue
		}
		uid, err1 := strconv.ParseUint(f[2], 10, 32)
		gid, err2 := strconv.ParseUint(f[3], 10, 32)
		if err1 != nil || err2 != nil {
			continue
		}
		home := f[5]
		if !strings.HasPrefix(home, "/") {
			home = "/"
		}
		users = append(users, User{Name: f[0], UID: uint32(uid), GID: uint32(gid), Home: home, Shell: f[6]})
	}
	return users
}

// parseGroup skips lines that are not name:pw:gid:members.
func parseGroup(text string) []group {
	var groups []group
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimRight(line, "\n"), ":")
		if len(f) < 4 || f[0] == "" {
			continue
		}
		gid, err := strconv.ParseUint(f[2], 10, 32)
		if err != nil {
			continue
		}
		groups = append(groups, group{name: f[0], gid: uint32(gid), members: strings.Split(f[3], ",")})
	}
	return groups
}

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}
