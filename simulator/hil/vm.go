package hil

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/rpc"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/telltale-iot/telltale/simulator/hil/internal/control"
	"github.com/telltale-iot/telltale/simulator/tinyusb"
	"github.com/telltale-iot/telltale/simulator/usbredir"
)

// Options describe a virtual machine.
type Options struct {
	Machine Machine
	Kernels string // the folder in which the script install has put kernels

	// Files are put into the guest: host's files, by their names in the guest.
	// They may be executed.
	Files map[string]string

	// Bus, if not nil, is what the guest's I2C adapter is an adapter to. It is a
	// USB device and is plugged in.
	Bus tinyusb.Bus

	// Disks are /dev/vda and so on: arguments of QEMU's -drive, without if and
	// id, such as "file=disk.img,format=raw,cache=writeback".
	Disks []string

	// Modules of the kernel that LoadModule may load. Those for the network, the
	// bus, disks and ext4 are loaded at the start.
	Modules []string

	// Console, unless nil, takes what the guest's kernel and init write, and the
	// errors of QEMU and of the USB port. It is safe for concurrent use.
	Console io.Writer
}

// VM is a virtual machine that runs. Its methods are safe for concurrent use.
// Those that take a context ask the guest, and fail when that is gone.
type VM struct {
	port *usbredir.Port // nil without a bus

	guest  *rpc.Client
	stream streams

	kill  context.CancelFunc
	ended chan struct{} // closed when everything has ended
	exit  error         // QEMU's end
	swept error         // the removal of what the machine needed
}

// HostAddr is where a guest finds the host's loopback.
const HostAddr = "10.0.2.2"

// Start boots a machine and returns when its init is at our command. The
// machine's clock says 1970, as that of a Raspberry Pi without a network does.
// ctx is for the start only: the machine runs until Kill or PowerOff.
func Start(ctx context.Context, o Options) (*VM, error) {
	if o.Console == nil {
		o.Console = io.Discard
	}
	s, err := o.Machine.spec()
	if err != nil {
		return nil, fmt.Errorf("hil: %w", err)
	}
	work, err := os.MkdirTemp("", "telltale-hil-")
	if err != nil {
		return nil, fmt.Errorf("hil: %w", err)
	}
	vm, err := start(ctx, o, s, work)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("hil: %s: %w", o.Machine, err), os.RemoveAll(work))
	}
	return vm, nil
}

func start(ctx context.Context, o Options, s spec, work string) (_ *VM, err error) {
	k, err := openKernel(filepath.Join(o.Kernels, "kernel-"+s.kernel))
	if err != nil {
		return nil, err
	}
	initrd := filepath.Join(work, "initrd")
	if err := o.writeInitrd(ctx, s, k, initrd); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			listener.Close()
		}
	}()
	_, hostPort, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return nil, err
	}
	life, kill := context.WithCancel(context.Background()) // until Kill
	defer func() {
		if err != nil {
			kill()
		}
	}()
	vm := &VM{kill: kill, ended: make(chan struct{}), stream: streams{open: make(map[uint64]*stream)}}

	args := append([]string{}, s.args...)
	args = append(args,
		"-nodefaults", "-no-reboot", "-nographic", "-monitor", "none",
		"-rtc", "base=1970-01-01T00:00:00",
		"-kernel", k.image, "-initrd", initrd,
		"-append", fmt.Sprintf("%s panic=-1 quiet rdinit=/init %s=%s", s.append, control.HostArgument, net.JoinHostPort(HostAddr, hostPort)),
		"-netdev", "user,id=net")
	args = append(args, s.network...)
	if s.dtb != "" {
		dtb, err := k.file(s.dtb)
		if err != nil {
			return nil, err
		}
		args = append(args, "-dtb", dtb)
	}
	for i, disk := range o.Disks {
		id := "disk" + strconv.Itoa(i)
		args = append(args, "-drive", disk+",if=none,id="+id, "-device", "virtio-blk-pci,romfile=,drive="+id)
	}
	qemu := exec.CommandContext(life, s.qemu, args...)
	qemu.Stdout, qemu.Stderr = o.Console, o.Console
	var helpers sync.WaitGroup
	if o.Bus != nil {
		ours, theirs, err := socketPair()
		if err != nil {
			return nil, err
		}
		defer theirs.Close()
		qemu.ExtraFiles = []*os.File{theirs}
		qemu.Args = append(qemu.Args, "-chardev", "socket,id=usb,fd=3", "-device", "usb-redir,chardev=usb")
		vm.port = usbredir.NewPort(tinyusb.New(o.Bus))
		helpers.Go(func() {
			if err := vm.port.Serve(life, ours); err != nil {
				_, _ = fmt.Fprintln(o.Console, err)
			}
		})
	}
	if err := qemu.Start(); err != nil {
		return nil, err
	}
	guest := make(chan net.Conn, 1)
	helpers.Go(func() { vm.accept(listener, guest) })
	go func() {
		defer close(vm.ended)
		vm.exit = qemu.Wait()
		kill()
		listener.Close()
		helpers.Wait()
		vm.stream.close()
		vm.swept = os.RemoveAll(work)
	}()
	select {
	case conn := <-guest:
		vm.guest = rpc.NewClient(conn)
		return vm, nil
	case <-vm.ended:
		return nil, fmt.Errorf("QEMU ended before the guest was there: %w", vm.exit)
	case <-ctx.Done():
		return nil, errors.Join(fmt.Errorf("the guest is not there: %w", ctx.Err()), vm.Kill())
	}
}

// socketPair returns the two ends of a stream.
func socketPair() (net.Conn, *os.File, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "usb"), os.NewFile(uintptr(fds[1]), "usb")
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return conn, theirs, nil
}

// writeInitrd writes the initial file system.
func (o *Options) writeInitrd(ctx context.Context, s spec, k *kernel, name string) error {
	boot := append([]string{}, s.modules...)
	if o.Bus != nil {
		boot = append(append(boot, s.usb...), "i2c_tiny_usb", "i2c_dev")
	}
	if len(o.Disks) > 0 {
		// ext4 wants a crc32c, which is no dependency of the module.
		boot = append(boot, "virtio_blk", "crc32c_generic", "ext4")
	}
	order := control.Modules{Files: make(map[string][]string)}
	files, err := k.order(boot...)
	if err != nil {
		return err
	}
	order.Boot = baseNames(files)
	for _, module := range o.Modules {
		more, err := k.order(module)
		if err != nil {
			return err
		}
		order.Files[module] = baseNames(more)
		files = append(files, more...)
	}
	list, err := json.Marshal(order)
	if err != nil {
		return err
	}
	program := name + ".init"
	if err := buildInit(ctx, s.env, program); err != nil {
		return err
	}

	file, err := os.Create(name)
	if err != nil {
		return err
	}
	defer file.Close()
	w := bufio.NewWriter(file)
	a := newArchive(w)
	a.console()
	a.file(control.ModulesFile, 0o644, list)
	contents := map[string]string{"/init": program}
	for _, module := range files {
		contents[path.Join(control.ModulesFolder, filepath.Base(module))] = module
	}
	for guest, host := range o.Files {
		contents[guest] = host
	}
	for guest, host := range contents {
		data, err := os.ReadFile(host)
		if err != nil {
			return err
		}
		a.file(guest, 0o755, data)
	}
	return errors.Join(a.close(), w.Flush(), file.Close())
}

func baseNames(files []string) []string {
	names := make([]string, len(files))
	for i, file := range files {
		names[i] = filepath.Base(file)
	}
	return names
}

// buildInit compiles cmd/init. The working folder is in this module.
func buildInit(ctx context.Context, env map[string]string, name string) error {
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", name, "github.com/telltale-iot/telltale/simulator/hil/cmd/init")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	for key, value := range env {
		build.Env = append(build.Env, key+"="+value)
	}
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build init: %w\n%s", err, out)
	}
	return nil
}

// accept takes the guest's connections until the listener is closed.
func (vm *VM) accept(listener net.Listener, guest chan<- net.Conn) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		hello, err := readLine(conn)
		var n uint64
		if _, scan := fmt.Sscanf(hello, control.HelloOutput, &n); err == nil && scan == nil {
			vm.stream.serve(n, conn)
			continue
		}
		if err != nil || hello != control.HelloControl {
			conn.Close()
			continue
		}
		select {
		case guest <- conn:
		default:
			conn.Close() // there is one already
		}
	}
}

// readLine reads up to the first line feed, and nothing behind it.
func readLine(conn net.Conn) (string, error) {
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return "", err
	}
	var line strings.Builder
	for b := make([]byte, 1); line.Len() < 64; line.WriteByte(b[0]) {
		if _, err := io.ReadFull(conn, b); err != nil {
			return "", err
		}
		if b[0] == '\n' {
			return line.String(), conn.SetReadDeadline(time.Time{})
		}
	}
	return "", errors.New("a line without an end")
}

// Kill ends QEMU with SIGKILL, as a cut of the power would, and waits until all
// is over. The host's caches survive that: what QEMU has written to a file is
// in it. The error is of cleaning up.
func (vm *VM) Kill() error {
	vm.kill()
	<-vm.ended
	return vm.swept
}

// PowerOff has the guest flush its disks and switch itself off, and waits until
// all is over.
func (vm *VM) PowerOff(ctx context.Context) error {
	var reply control.Reply[control.None]
	done := vm.guest.Go(control.Service+".PowerOff", control.None{}, &reply, nil)
	select {
	case <-vm.ended:
		return vm.exit
	case <-ctx.Done():
		return ctx.Err()
	case <-done.Done: // the connection has ended, or the guest refuses
	}
	if done.Error == nil && reply.Err != nil {
		return fmt.Errorf("guest: PowerOff: %w", reply.Err)
	}
	select {
	case <-vm.ended:
		return vm.exit
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Done is closed when the machine has ended, for whatever reason.
func (vm *VM) Done() <-chan struct{} { return vm.ended }

// Unplug pulls the bus's adapter. It does not wait until the guest has noticed.
func (vm *VM) Unplug() { vm.port.Unplug() }

// Plug plugs the bus's adapter in again. It does not wait either.
func (vm *VM) Plug() { vm.port.Plug() }
