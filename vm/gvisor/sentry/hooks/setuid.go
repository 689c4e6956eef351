//go:build linux

package hooks

import (
	"sync"

	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/errors/linuxerr"
	"gvisor.dev/gvisor/pkg/fspath"
	"gvisor.dev/gvisor/pkg/log"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/sentry/kernel/auth"
	"gvisor.dev/gvisor/pkg/sentry/vfs"
)

// SetUIDOnce returns the hook that makes files set-uid in the guest before any
// of its code runs, after a boot or a restore. The bit is in the guest's writable
// layer only, and so it is in what is saved. gVisor has no hook between the mounts
// and the first program, and a guest restored from an older snapshot has an agent
// that would not do it.
func SetUIDOnce(paths []string) func(*kernel.Task) {
	var once sync.Once
	return func(t *kernel.Task) {
		once.Do(func() {
			for _, path := range paths {
				if err := setUID(t, path); err != nil && !linuxerr.Equals(linuxerr.ENOENT, err) {
					log.Warningf("%s cannot be made set-uid: %v", path, err)
				}
			}
		})
	}
}

// setUID sets the bit of a regular file of root's, as the first process sees it.
func setUID(t *kernel.Task, path string) error {
	ctx := t.AsyncContext() // A task that is about to run the guest cannot wait for a file.
	leader := t.Kernel().GlobalInit().Leader()
	if leader == nil {
		return linuxerr.ESRCH
	}
	mounts := leader.GetMountNamespace()
	if mounts == nil {
		return linuxerr.ESRCH
	}
	defer mounts.DecRef(ctx)
	root := mounts.Root(ctx)
	defer root.DecRef(ctx)
	file := &vfs.PathOperation{Root: root, Start: root, Path: fspath.Parse(path)}
	creds := auth.NewRootCredentials(t.Kernel().RootUserNamespace())
	files := t.Kernel().VFS()
	stat, err := files.StatAt(ctx, creds, file, &vfs.StatOptions{Mask: linux.STATX_TYPE | linux.STATX_MODE | linux.STATX_UID})
	if err != nil {
		return err
	}
	if stat.Mode&linux.S_IFMT != linux.S_IFREG || stat.UID != 0 || stat.Mode&linux.S_ISUID != 0 {
		return nil
	}
	return files.SetStatAt(ctx, creds, file, &vfs.SetStatOptions{
		Stat: linux.Statx{Mask: linux.STATX_MODE, Mode: stat.Mode&^linux.S_IFMT | linux.S_ISUID}})
}
