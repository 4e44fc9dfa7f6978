//go:build !linux

package sample

import "syscall"

var nackErrnos = []syscall.Errno{syscall.ENXIO}
