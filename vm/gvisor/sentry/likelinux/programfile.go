//go:build linux

package likelinux

import (
	goContext "context"

	"gvisor.dev/gvisor/pkg/abi/linux"
	"gvisor.dev/gvisor/pkg/context"
	"gvisor.dev/gvisor/pkg/errors/linuxerr"
	"gvisor.dev/gvisor/pkg/sentry/kernel"
	"gvisor.dev/gvisor/pkg/sentry/kernel/auth"
	"gvisor.dev/gvisor/pkg/sentry/vfs"
	"gvisor.dev/gvisor/pkg/state"
	"gvisor.dev/gvisor/pkg/usermem"
)

// programFile is a program that a task may execute and not read, for as long as
// it is loaded. gVisor's loader asks for the file's capabilities with the rights
// of the task, which would need to read for that. See readAttribute.
//
// A guest may be saved while a task waits to load it, so it can be saved.
type programFile struct {
	vfs.FileDescriptionImpl // That of opened.

	opened *vfs.FileDescription
}

// newProgramFile takes the reference to opened over.
func newProgramFile(ctx context.Context, opened *vfs.FileDescription) (*vfs.FileDescription, error) {
	p := &programFile{opened.Impl(), opened}
	var file vfs.FileDescription
	options := opened.Options()
	at := opened.VirtualDentry()
	if err := file.Init(p, opened.StatusFlags(), opened.Credentials(), at.Mount(), at.Dentry(), &options); err != nil {
		opened.DecRef(ctx)
		return nil, err
	}
	return &file, nil
}

// Release implements vfs.FileDescriptionImpl.
func (p *programFile) Release(ctx context.Context) { p.opened.DecRef(ctx) }

// PRead implements vfs.FileDescriptionImpl. The loader reads while no process can attach
// to the task or let go of it. A tracer may read all that it runs, and so a
// program is not loaded that the tracer may not read.
func (p *programFile) PRead(ctx context.Context, dst usermem.IOSequence, offset int64, opts vfs.ReadOptions) (int64, error) {
	if t := kernel.TaskFromContext(ctx); t != nil {
		tracer := t.Tracer()
		if tracer != nil && !tracer.Credentials().HasCapabilityIn(linux.CAP_SYS_PTRACE, t.Kernel().RootUserNamespace()) {
			return 0, linuxerr.EACCES
		}
	}
	return p.FileDescriptionImpl.PRead(ctx, dst, offset, opts)
}

// GetXattr implements vfs.FileDescriptionImpl.
func (p *programFile) GetXattr(ctx context.Context, opts vfs.GetXattrOptions) (string, error) {
	k := kernel.KernelFromContext(ctx)
	if k == nil {
		return "", linuxerr.EOPNOTSUPP
	}
	at := p.opened.VirtualDentry()
	creds := auth.NewRootCredentials(k.RootUserNamespace())
	return k.VFS().GetXattrAt(ctx, creds, &vfs.PathOperation{Root: at, Start: at}, &opts)
}

func init() { state.Register((*programFile)(nil)) }

// StateTypeName implements state.Type. It is in snapshots, and does not change.
func (*programFile) StateTypeName() string { return "rundlet/vm/gvisor.programFile" }

// StateFields implements state.Type.
func (*programFile) StateFields() []string { return []string{"impl", "opened"} }

// StateSave implements state.SaverLoader.
func (p *programFile) StateSave(sink state.Sink) {
	sink.Save(0, &p.FileDescriptionImpl)
	sink.Save(1, &p.opened)
}

// StateLoad implements state.SaverLoader.
func (p *programFile) StateLoad(_ goContext.Context, source state.Source) {
	source.Load(0, &p.FileDescriptionImpl)
	source.Load(1, &p.opened)
}
