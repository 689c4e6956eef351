package gvisor

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// ports says which sockets the tables of TCP have: those that only have an address are in none.
func ports(report func(string, any)) {
	for table, family := range map[string]int{"tcp": unix.AF_INET, "tcp6": unix.AF_INET6} {
		listed := func(what string, listen bool) {
			fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				report(table, err)
				return
			}
			defer unix.Close(fd)
			var at unix.Sockaddr = &unix.SockaddrInet4{}
			if family == unix.AF_INET6 {
				at = &unix.SockaddrInet6{}
			}
			err = unix.Bind(fd, at)
			if listen {
				err = errors.Join(err, unix.Listen(fd, 1))
			}
			name, nameErr := unix.Getsockname(fd)
			var port int
			switch a := name.(type) {
			case *unix.SockaddrInet4:
				port = a.Port
			case *unix.SockaddrInet6:
				port = a.Port
			}
			text, readErr := os.ReadFile("/proc/net/" + table)
			report(table+" "+what, fmt.Sprint(strings.Contains(string(text), fmt.Sprintf(":%04X ", port)), errors.Join(err, nameErr, readErr)))
		}
		listed("with an address", false)
		listed("that listens", true)
	}
}
