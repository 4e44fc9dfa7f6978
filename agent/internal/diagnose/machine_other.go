//go:build !linux

package diagnose

import "errors"

func writable(string) error { return nil }

func fileSystem(string) (FileSystem, error) { return FileSystem{}, errors.ErrUnsupported }
