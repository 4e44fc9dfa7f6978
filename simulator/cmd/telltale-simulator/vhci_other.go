//go:build !linux

package main

import "runtime"

// vhciMissing says why this machine cannot attach devices by USB/IP.
func vhciMissing() string { return "only Linux has USB/IP's vhci-hcd, and this is " + runtime.GOOS }
