package main

import (
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// vhciMissing says why this machine cannot attach devices by USB/IP, "" if it
// can, as far as that can be seen.
func vhciMissing() string {
	if _, err := os.Stat("/sys/module/vhci_hcd"); err == nil {
		return ""
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return ""
	}
	release := unix.ByteSliceToString(name.Release[:])
	for _, file := range []string{"modules.dep", "modules.builtin"} {
		data, err := os.ReadFile(filepath.Join("/lib/modules", release, file))
		if err == nil && strings.Contains(string(data), "/vhci-hcd.ko") {
			return ""
		}
	}
	return "its kernel, " + release + ", has no vhci-hcd here"
}
