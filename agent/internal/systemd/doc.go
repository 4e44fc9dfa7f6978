// Package systemd tells systemd how a service is: that it has started, that it
// lives, what it does, that it reads its configuration anew, that it stops. The
// protocol is sd_notify(3), spoken by github.com/coreos/go-systemd/v22/daemon; for
// the watchdog see also sd_watchdog_enabled(3), for what systemd makes of it
// Type=notify and WatchdogSec= in systemd.service(5).
//
// Where systemd did not start the process, nothing happens.
package systemd
