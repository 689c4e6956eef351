//go:build !linux

package doctor

func hostChecks(string) []CheckFunc { return nil }
