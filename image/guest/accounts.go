//go:build linux

package guest

import (
	"slices"
	"strconv"
	"strings"
)

// accounts are the lines of passwd, group and shadow of an image, with the user of E2B in
// them. Lines that are not well-formed stay and have no meaning.
type accounts struct {
	passwd, group, shadow []string
	uid, gid              uint32
	home                  string
}

const userName = "user"

func lines(file []byte) []string {
	return slices.DeleteFunc(strings.Split(string(file), "\n"), func(line string) bool { return line == "" })
}

// line returns the fields of the line that begins with a name.
func line(all []string, name string, fields int) []string {
	for _, l := range all {
		if f := strings.Split(l, ":"); f[0] == name && len(f) == fields {
			return f
		}
	}
	return nil
}

// withUser adds root and the user, where the image does not have them. The user has the
// id 1000, or the next one that neither a user nor a group has.
func (a *accounts) withUser(shell string) {
	if line(a.passwd, "root", 7) == nil {
		a.passwd = append([]string{"root:x:0:0:root:/root:" + shell}, a.passwd...)
	}
	if line(a.group, "root", 4) == nil {
		a.group = append([]string{"root:x:0:"}, a.group...)
	}
	if f := line(a.passwd, userName, 7); f != nil {
		a.uid, a.gid, a.home = number(f[2]), number(f[3]), f[5]
		a.lock()
		return
	}
	a.uid, a.home = UserID, "/home/user"
	taken := map[uint32]bool{}
	for _, l := range slices.Concat(a.passwd, a.group) {
		if f := strings.Split(l, ":"); len(f) > 2 {
			taken[number(f[2])] = true
		}
	}
	group := line(a.group, userName, 4)
	for taken[a.uid] && (group == nil || a.uid != number(group[2]) || hasUID(a.passwd, a.uid)) {
		a.uid++
	}
	if a.gid = a.uid; group != nil {
		a.gid = number(group[2])
	} else {
		a.group = append(a.group, "user:x:"+decimal(a.gid)+":")
	}
	a.passwd = append(a.passwd, "user:x:"+decimal(a.uid)+":"+decimal(a.gid)+"::"+a.home+":"+shell)
	for i, l := range a.group {
		f := strings.Split(l, ":")
		if len(f) == 4 && (f[0] == "sudo" || f[0] == "users") && !slices.Contains(strings.Split(f[3], ","), userName) {
			f[3] = strings.TrimPrefix(f[3]+","+userName, ",")
			a.group[i] = strings.Join(f, ":")
		}
	}
	a.lock()
}

// lock gives root and the user lines in shadow. They have no password: root becomes any
// user by su, and the user becomes root by sudo.
func (a *accounts) lock() {
	if len(a.shadow) == 0 {
		a.shadow = lines([]byte(Locked(strings.Join(a.passwd, "\n"), ":*:19000:0:99999:7:::")))
	}
	for _, name := range []string{"root", userName} {
		if !slices.ContainsFunc(a.shadow, func(l string) bool { return strings.HasPrefix(l, name+":") }) {
			a.shadow = append(a.shadow, name+":*:19000:0:99999:7:::")
		}
	}
}

func hasUID(passwd []string, uid uint32) bool {
	return slices.ContainsFunc(passwd, func(l string) bool {
		f := strings.Split(l, ":")
		return len(f) > 2 && f[2] == decimal(uid)
	})
}

// number is the value of an id; one that is not a number is 65534.
func number(text string) uint32 {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 65534
	}
	return uint32(n)
}

func decimal(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
