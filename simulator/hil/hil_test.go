package hil

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The archive must be what other programs read; here those that Debian has are
// not counted on, so the bytes are compared.
func TestArchive(t *testing.T) {
	var b bytes.Buffer
	a := newArchive(&b)
	a.file("/a/b/c", 0o755, []byte("hello"))
	a.file("/a/d", 0o644, nil)
	a.console()
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	got := b.String()
	var want strings.Builder
	for _, entry := range []struct{ numbers, rest string }{
		{"00000001 000041ED 00000000 00000000 00000001 00000000 00000000 00000000 00000000 00000000 00000000 00000002 00000000", "a\x00"},
		{"00000002 000041ED 00000000 00000000 00000001 00000000 00000000 00000000 00000000 00000000 00000000 00000004 00000000", "a/b\x00\x00\x00"},
		{"00000003 000081ED 00000000 00000000 00000001 00000000 00000005 00000000 00000000 00000000 00000000 00000006 00000000", "a/b/c\x00hello\x00\x00\x00"},
		{"00000004 000081A4 00000000 00000000 00000001 00000000 00000000 00000000 00000000 00000000 00000000 00000004 00000000", "a/d\x00\x00\x00"},
		{"00000005 000041ED 00000000 00000000 00000001 00000000 00000000 00000000 00000000 00000000 00000000 00000004 00000000", "dev\x00\x00\x00"},
		{"00000006 00002180 00000000 00000000 00000001 00000000 00000000 00000000 00000000 00000005 00000001 0000000C 00000000", "dev/console\x00\x00\x00"},
		{"00000007 00000000 00000000 00000000 00000001 00000000 00000000 00000000 00000000 00000000 00000000 0000000B 00000000", "TRAILER!!!\x00\x00\x00\x00"},
	} {
		want.WriteString("070701" + strings.ReplaceAll(entry.numbers, " ", "") + entry.rest)
	}
	if got != want.String() {
		t.Errorf("archive\n%q\nwant\n%q", got, want.String())
	}
	if len(got)%4 != 0 {
		t.Errorf("%d bytes, want a multiple of 4", len(got))
	}
}

// writeModule makes an object file that has only a section .modinfo.
func writeModule(t *testing.T, file, info string) {
	t.Helper()
	const names = "\x00.modinfo\x00.shstrtab\x00"
	const header = 64
	le := binary.LittleEndian
	b := make([]byte, header)
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], uint16(elf.ET_REL))
	le.PutUint16(b[18:], uint16(elf.EM_AARCH64))
	le.PutUint32(b[20:], 1)
	le.PutUint16(b[52:], header)
	le.PutUint16(b[58:], 64) // size of a section's header
	le.PutUint16(b[60:], 3)
	le.PutUint16(b[62:], 2)
	b = append(append(b, info...), names...)
	le.PutUint64(b[40:], uint64(len(b)))
	section := func(name, kind uint32, offset, size int) {
		s := make([]byte, 64)
		le.PutUint32(s, name)
		le.PutUint32(s[4:], kind)
		le.PutUint64(s[24:], uint64(offset))
		le.PutUint64(s[32:], uint64(size))
		b = append(b, s...)
	}
	section(0, uint32(elf.SHT_NULL), 0, 0)
	section(1, uint32(elf.SHT_PROGBITS), header, len(info))
	section(10, uint32(elf.SHT_STRTAB), header+len(info), len(names))
	write(t, file, b)
}

func write(t *testing.T, file string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestModulesAreLoadedAfterWhatTheyDependOn(t *testing.T) {
	dir := t.TempDir()
	modules := filepath.Join(dir, "lib/modules/6.1.0")
	write(t, filepath.Join(dir, "boot/vmlinuz-6.1.0"), nil)
	write(t, filepath.Join(modules, "modules.builtin"), []byte("kernel/drivers/i2c/i2c-core.ko\n"))
	for name, info := range map[string]string{
		"fs/ext4.ko":           "license=GPL\x00depends=jbd2,crc16\x00name=ext4\x00",
		"fs/jbd2.ko":           "depends=crc16\x00",
		"lib/crc16.ko":         "depends=\x00",
		"i2c/i2c-tiny-usb.ko":  "depends=usbcore,i2c_core\x00",
		"usb/usbcore.ko":       "alias=depends=nothing\x00",
		"a.ko":                 "depends=b\x00",
		"b.ko":                 "depends=a\x00",
		"missing-something.ko": "depends=lost\x00",
	} {
		writeModule(t, filepath.Join(modules, "kernel", name), info)
	}
	k, err := openKernel(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		names []string
		want  string
		err   string
	}{
		{[]string{"ext4"}, "crc16.ko jbd2.ko ext4.ko", ""},
		{[]string{"jbd2", "ext4", "crc16"}, "crc16.ko jbd2.ko ext4.ko", ""},
		{[]string{"i2c_tiny_usb"}, "usbcore.ko i2c-tiny-usb.ko", ""},
		{[]string{"i2c-core"}, "", ""},
		{[]string{"a"}, "", "kernel vmlinuz-6.1.0: module a > b > a depends on itself"},
		{[]string{"missing_something"}, "", "kernel vmlinuz-6.1.0: no module missing_something > lost"},
		{[]string{"nothing"}, "", "kernel vmlinuz-6.1.0: no module nothing"},
	} {
		files, err := k.order(tt.names...)
		if got := strings.Join(baseNames(files), " "); got != tt.want || errorText(err) != tt.err {
			t.Errorf("%s: %q, %v; want %q, %q", tt.names, got, err, tt.want, tt.err)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestAKernelThatIsNotThere(t *testing.T) {
	_, err := openKernel("/nowhere")
	if want := "kernel /nowhere: 0 files boot/vmlinuz-*, want one: simulator/hil/install fetches them"; errorText(err) != want {
		t.Errorf("error %v, want %q", err, want)
	}
}

func TestUnknownMachine(t *testing.T) {
	_, err := Start(t.Context(), Options{Machine: "vax"})
	if want := `hil: machine "vax": want one of arm64, armv7, raspi0, raspi3b`; errorText(err) != want {
		t.Errorf("error %v, want %q", err, want)
	}
}

func TestStreams(t *testing.T) {
	s := streams{open: make(map[uint64]*stream)}
	var got bytes.Buffer
	n, served := s.expect(&got)
	guest, host := net.Pipe()
	s.serve(n, host)
	if _, err := io.WriteString(guest, "hello"); err != nil {
		t.Fatal(err)
	}
	again, second := net.Pipe()
	s.serve(n, second)
	if _, err := again.Write([]byte("x")); err == nil {
		t.Error("a second connection for a stream was taken")
	}
	guest.Close()
	<-served.done
	if got.String() != "hello" {
		t.Errorf("the stream has %q, want hello", &got)
	}

	n, forgotten := s.expect(io.Discard)
	s.forget(n)
	<-forgotten.done
	n, cut := s.expect(io.Discard)
	guest, host = net.Pipe()
	defer guest.Close()
	s.serve(n, host)
	_, waiting := s.expect(io.Discard)
	s.close()
	<-cut.done
	<-waiting.done
	_, late := s.expect(io.Discard)
	<-late.done
}

// Every machine's init must compile, also where no QEMU is.
func TestInitCompiles(t *testing.T) {
	for _, m := range []Machine{ARM64, ARMv7, RaspberryPi0} {
		s, err := m.spec()
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "init")
		if err := buildInit(t.Context(), s.env, file); err != nil {
			t.Fatal(err)
		}
		program, err := elf.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer program.Close()
		libraries, err := program.ImportedLibraries()
		if err == nil && !slices.Equal(libraries, nil) {
			t.Errorf("%s: init needs %s, want a static program", m, libraries)
		}
	}
}
