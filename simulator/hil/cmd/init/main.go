//go:build linux

// Init is the first process of a virtual machine: it makes a bare Linux of it
// and then does what the host says, over the network. It switches the machine
// off when the host is gone.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/rpc"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/telltale-iot/telltale/simulator/hil/internal/control"
)

func main() {
	_, _ = fmt.Fprintln(os.Stdout, "init:", run(os.Stdout))
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	select {} // the kernel panics if its first process ends
}

// run returns why the machine is to be switched off.
func run(console io.Writer) error {
	for _, m := range []control.Mount{
		{Source: "proc", Target: "/proc", Type: "proc"},
		{Source: "sysfs", Target: "/sys", Type: "sysfs"},
		{Source: "devtmpfs", Target: "/dev", Type: "devtmpfs"},
		{Source: "tmpfs", Target: "/tmp", Type: "tmpfs"},
	} {
		if err := mount(m); err != nil {
			return err
		}
	}
	modules, err := readModules()
	if err != nil {
		return err
	}
	if err := load(modules.Boot); err != nil {
		return err
	}
	host, err := argument(control.HostArgument)
	if err != nil {
		return err
	}
	if err := startNetwork(); err != nil {
		return err
	}
	conn, err := dial(host, control.HelloControl)
	if err != nil {
		return err
	}
	server := rpc.NewServer()
	if err := server.RegisterName(control.Service, &Service{host: host, modules: modules, processes: map[int]*process{}}); err != nil {
		return err
	}
	_, _ = fmt.Fprintln(console, "init: at the host's command")
	server.ServeConn(conn)
	return errors.New("the host is gone")
}

// dial connects to the host and says what for.
func dial(host, hello string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: 10 * time.Second}).Dial("tcp", host)
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(conn, hello+"\n"); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// argument returns an argument of the kernel's command line.
func argument(name string) (string, error) {
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return "", err
	}
	for field := range strings.FieldsSeq(string(line)) {
		if value, ok := strings.CutPrefix(field, name+"="); ok {
			return value, nil
		}
	}
	return "", fmt.Errorf("the kernel's command line has no %s", name)
}

func readModules() (control.Modules, error) {
	var m control.Modules
	data, err := os.ReadFile(control.ModulesFile)
	if err != nil {
		return m, err
	}
	return m, json.Unmarshal(data, &m)
}

// load loads kernel modules from their files, in this order; those that are
// loaded stay.
func load(files []string) error {
	for _, name := range files {
		file, err := os.Open(filepath.Join(control.ModulesFolder, name))
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(file.Fd()), "", 0)
		file.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("load %s: %w", name, err)
		}
	}
	return nil
}

func mount(m control.Mount) error {
	if err := os.MkdirAll(m.Target, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(m.Source, m.Target, m.Type, 0, m.Data); err != nil {
		return fmt.Errorf("mount %s on %s: %w", m.Source, m.Target, err)
	}
	return nil
}
