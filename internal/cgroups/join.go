//go:build linux

package cgroups

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"unsafe"
)

// JoinFiles are the files by which a process joins the group; see Join. There are none
// for a process that is born in the group.
func (g *Group) JoinFiles() (files []string) {
	if g == nil || g.cloneInto {
		return nil
	}
	name := "tasks"
	if onlyV2() {
		name = "cgroup.procs"
	}
	for _, dir := range g.dirs() {
		files = append(files, filepath.Join(dir, name))
	}
	return files
}

// Join moves this process, with all threads that it has, by JoinFiles. On version 1
// each thread moves only itself: to move a whole process the kernel waits until every
// processor has passed a point of rest (an RCU grace period), 6 to 14 ms on an idle
// machine and hundreds on a busy one. Version 2 knows whole processes only: there a
// process is born in its group (CloneInto), and joins only if the kernel is too old for that.
//
// A program with cgo, which does not know all its threads, moves as a whole.
func Join(files []string) error {
	for _, file := range files {
		if err := join(file); err != nil {
			return fmt.Errorf("join control group: %w", err)
		}
	}
	return nil
}

// self is what a task writes to move itself.
var self = [1]byte{'0'}

func join(file string) error {
	if filepath.Base(file) != "tasks" {
		return os.WriteFile(file, self[:], 0)
	}
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, _, errno := syscall.AllThreadsSyscall(syscall.SYS_WRITE, f.Fd(), uintptr(unsafe.Pointer(&self[0])), uintptr(len(self)))
	if errno == syscall.ENOTSUP { // A program with cgo: slower, but it joins.
		return errors.Join(f.Close(), os.WriteFile(filepath.Join(filepath.Dir(file), "cgroup.procs"), self[:], 0))
	}
	if errno != 0 {
		err = &os.PathError{Op: "write", Path: file, Err: errno}
	}
	return errors.Join(err, f.Close())
}
