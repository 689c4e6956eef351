//go:build linux

package control

// StartRoot runs the first process of a sandbox that was just made, and returns when it runs.
// network is called when the sandbox takes calls: it may change the host, and what it returns stays its
// owner's.
func (s Sandbox) StartRoot(network func() (*Network, error)) error {
	return s.start(network, false, "start the sandbox", methodStartRoot, &s.ID)
}

// Restore makes a sandbox that was just made the one that was saved in the files in dir. The
// guest runs when it returns. See StartRoot about network. A sandbox that fails here ends.
func (s Sandbox) Restore(dir string, network func() (*Network, error)) error {
	files, err := openAll(dir, saveFiles, read)
	if err != nil {
		return err
	}
	defer closeAll(files)
	args := RestoreOpts{HavePagesFile: true}
	args.Files = files
	return s.start(network, true, "restore the sandbox", methodRestore, &args)
}

// start makes the network and then the call, over one connection.
func (s Sandbox) start(network func() (*Network, error), isRestore bool, what, method string, arg any) error {
	conn, err := s.connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	n, err := network()
	if err != nil {
		return asked("set up the network of the sandbox", err)
	}
	n.IsRestore = isRestore
	if err := conn.Call(methodSetNetworkArgs, n, nil); err != nil {
		return asked("set up the network of the sandbox", err)
	}
	return asked(what, conn.Call(method, arg, nil))
}
