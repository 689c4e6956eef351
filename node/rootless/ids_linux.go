package rootless

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"

	"github.com/rundlet/rundlet/vm"
)

// leastIDs is how many ids a node needs beside root: images have files of any of the first 65,536, the last of which is taken by the
// kernel for what is not mapped.
const leastIDs = 65_535

// span is a range of ids of the host.
type span struct{ first, count int }

// subordinate reads the first range of at least leastIDs ids that a file such as /etc/subuid gives to a user, who stands there by
// name or by number.
func subordinate(file io.Reader, name, id string) (span, error) {
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		fields := strings.Split(strings.TrimSpace(lines.Text()), ":")
		if len(fields) != 3 || fields[0] != name && fields[0] != id {
			continue
		}
		first, err1 := strconv.Atoi(fields[1])
		count, err2 := strconv.Atoi(fields[2])
		if err1 != nil || err2 != nil || first <= 0 || count < leastIDs {
			continue
		}
		return span{first, leastIDs}, nil
	}
	return span{}, errors.Join(lines.Err(), errNoIDs)
}

var errNoIDs = fmt.Errorf("no range of %d ids", leastIDs)

// idMap is how newuidmap or newgidmap is called for one kind of id.
type idMap struct {
	program, file, flag string
	id                  int
}

func idMaps() []idMap {
	return []idMap{
		{"newuidmap", "/etc/subuid", "--add-subuids", os.Getuid()},
		{"newgidmap", "/etc/subgid", "--add-subgids", os.Getgid()},
	}
}

// command maps root to the user, and the ids above to the subordinate ones, in the user namespace of a process that has the number that is
// appended first.
func (m idMap) command() (func(pid int) *exec.Cmd, error) {
	fail := func(err error, hint string) (func(int) *exec.Cmd, error) {
		return nil, &vm.Error{Op: "map user ids", Kind: vm.ErrUnsupported, Err: err, Hint: hint}
	}
	program, err := exec.LookPath(m.program)
	if err != nil {
		return fail(err, "install "+m.program+": apt-get install uidmap (Debian, Ubuntu) or shadow-utils (Fedora)")
	}
	uid := strconv.Itoa(os.Getuid())
	name := uid
	if u, err := user.LookupId(uid); err == nil {
		name = u.Username
	}
	hint := fmt.Sprintf("as root: usermod %s 100000-165535 %s (a range that no other user has)", m.flag, name)
	f, err := os.Open(m.file)
	if err != nil {
		return fail(err, hint)
	}
	defer f.Close()
	ids, err := subordinate(f, name, uid)
	if err != nil {
		return fail(fmt.Errorf("%s has for user %s: %w", m.file, name, err), hint)
	}
	return func(pid int) *exec.Cmd {
		//nolint:noctx // It ends at once.
		return exec.Command(program, strconv.Itoa(pid), "0", strconv.Itoa(m.id), "1", "1", strconv.Itoa(ids.first), strconv.Itoa(ids.count))
	}, nil
}
