//go:build unix && !linux

package buffer

func (f osFile) Preallocate(size int64) error { return f.Truncate(size) }
