package account

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Resolve returns the user of a text in the form of chown(1): "user" or "user:group", each a name or a number. A number
// that the guest has no line for is a user of that number, with a group of that number. The error is ErrUnknown,
// ErrUnknownGroup, or says why the files could not be read.
func (db *DB) Resolve(text string) (User, error) {
	name, group, _ := strings.Cut(text, ":")
	u, err := db.Lookup(name)
	if id, numeric := number(name); numeric && errors.Is(err, ErrUnknown) {
		u, err = db.numbered(id), nil
	}
	if err != nil || group == "" {
		return u, err
	}
	if u.GID, err = db.gid(group); err != nil {
		return User{}, err
	}
	return u, nil
}

// numbered returns the user of a number, which the files need not have.
func (db *DB) numbered(id uint32) User {
	db.mu.Lock()
	defer db.mu.Unlock()
	for _, u := range db.users {
		if u.UID == id {
			u.Groups = []uint32{u.GID}
			return u
		}
	}
	return User{Name: strconv.FormatUint(uint64(id), 10), UID: id, GID: id, Home: "/", Groups: []uint32{id}}
}

func (db *DB) gid(name string) (uint32, error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if err := db.refresh(); err != nil {
		return 0, err
	}
	for _, g := range db.groups {
		if g.name == name {
			return g.gid, nil
		}
	}
	if id, numeric := number(name); numeric {
		return id, nil
	}
	return 0, fmt.Errorf("%w: %.200q", ErrUnknownGroup, name)
}

// number is an id. The largest one means none to the kernel.
func number(text string) (uint32, bool) {
	id, err := strconv.ParseUint(text, 10, 32)
	return uint32(id), err == nil && id != math.MaxUint32
}
