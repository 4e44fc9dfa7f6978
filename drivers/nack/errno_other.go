//go:build !linux

package nack

import "syscall"

var errnos = []syscall.Errno{syscall.ENXIO}
