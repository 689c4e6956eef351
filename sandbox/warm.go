package sandbox

// WarmTemplate says how many machines of a template are kept running for the next creates.
type WarmTemplate struct {
	Name string
	// Ready is how many are kept. Set says that a client chose that number; otherwise the daemon was started with it.
	Ready int
	Set   bool
	// Now is how many a create could take at this moment.
	Now int
	// Missing: the template does not exist, or none of its builds has the default tag.
	Missing bool
}
