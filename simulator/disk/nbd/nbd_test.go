package nbd

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/telltale-iot/telltale/internal/await"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a device that notes what is asked of it, and fails the test if that
// is not what a Device may be asked.
type memory struct {
	t testing.TB

	mu    sync.Mutex
	data  []byte
	calls []string
	err   error // of the next calls
}

func (m *memory) call(name string, p []byte, off int64) error {
	if len(p)%BlockSize != 0 || off%BlockSize != 0 || off < 0 || off+int64(len(p)) > int64(len(m.data)) {
		m.t.Errorf("%s of %d bytes at %d of %d", name, len(p), off, len(m.data))
		return errors.New("out of bounds")
	}
	m.calls = append(m.calls, fmt.Sprintf("%s %d+%d", name, off, len(p)))
	return m.err
}

func (m *memory) Size() int64 { return int64(len(m.data)) }

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.call("read", p, off); err != nil {
		return 0, err
	}
	return copy(p, m.data[off:]), nil
}

func (m *memory) Write(p []byte, off int64, fua bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	name := "write"
	if fua {
		name = "write through"
	}
	if err := m.call(name, p, off); err != nil {
		return err
	}
	copy(m.data[off:], p)
	return nil
}

func (m *memory) Flush() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.call("flush", nil, 0)
}

func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

// peer is a client, written from the protocol's document.
type peer struct {
	t    *testing.T
	conn net.Conn
}

// connect serves d until the test's end and returns a client of it.
func connect(t *testing.T, d Device) *peer {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "nbd"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- Serve(t.Context(), l, d) }()
	t.Cleanup(func() { // t.Context has ended
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	conn, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return &peer{t, conn}
}

// join puts integers, big-endian, and strings and bytes together.
func join(t testing.TB, parts ...any) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, part := range parts {
		if s, ok := part.(string); ok {
			part = []byte(s)
		}
		if err := binary.Write(&b, binary.BigEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func (p *peer) write(parts ...any) {
	p.t.Helper()
	if _, err := p.conn.Write(join(p.t, parts...)); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) read(n int) []byte {
	p.t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(p.conn, b); err != nil {
		p.t.Fatal(err)
	}
	return b
}

func (p *peer) want(parts ...any) {
	p.t.Helper()
	want := join(p.t, parts...)
	if diff := cmp.Diff(want, p.read(len(want))); diff != "" {
		p.t.Fatalf("reply (-want +got):\n%s", diff)
	}
}

// ended asserts that the server has closed the connection.
func (p *peer) ended() {
	p.t.Helper()
	if n, err := p.conn.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		p.t.Fatalf("%d more bytes, error %v, where the connection should end", n, err)
	}
}

func isTimeout(err error) bool {
	var netErr net.Error
	return errors.As(err, &netErr) && netErr.Timeout()
}

func (p *peer) greet() {
	p.t.Helper()
	p.want("NBDMAGICIHAVEOPT", uint16(3))
	p.write(uint32(3))
}

const replyMagic = uint64(0x0003e889045565a9)

// transmit goes through the handshake.
func (p *peer) transmit() {
	p.t.Helper()
	p.greet()
	p.write("IHAVEOPT", uint32(1), uint32(4), "name")
	p.read(10)
}

func (p *peer) request(flags, command uint16, cookie, offset uint64, length uint32, data ...byte) {
	p.t.Helper()
	p.write(uint32(0x25609513), flags, command, cookie, offset, length, data)
}

func TestHandshake(t *testing.T) {
	info := func(option uint32) []any {
		return []any{
			replyMagic, option, uint32(3), uint32(12), uint16(0), uint64(8192), uint16(1 | 4 | 8),
			replyMagic, option, uint32(3), uint32(14), uint16(3), uint32(512), uint32(4096), uint32(32 << 20),
			replyMagic, option, uint32(1), uint32(0),
		}
	}
	fails := func(option, code uint32) []any { return []any{replyMagic, option, 1<<31 + code, uint32(0)} }
	asked := []any{uint32(3), "abc", uint16(1), uint16(3)}
	tests := []struct {
		name     string
		option   uint32
		data     []any
		want     []any
		transmit bool
	}{
		{"go", 7, asked, info(7), true},
		{"info", 6, asked, info(6), false},
		{"info of nothing but the export", 6, []any{uint32(0), uint16(0)}, info(6), false},
		{"info cut short", 6, []any{uint32(3), "ab"}, fails(6, 3), false},
		{"info whose name is longer than all", 6, []any{^uint32(0), "abc", uint16(0)}, fails(6, 3), false},
		{"info with fewer requests than said", 6, []any{uint32(0), uint16(2), uint16(3)}, fails(6, 3), false},
		{"info with more behind it", 7, []any{uint32(0), uint16(0), uint16(3)}, fails(7, 3), false},
		{"too long", 7, []any{make([]byte, 9000)}, fails(7, 9), false},
		{"list", 3, nil, []any{replyMagic, uint32(3), uint32(2), uint32(4), uint32(0), replyMagic, uint32(3), uint32(1), uint32(0)}, false},
		{"list with data", 3, []any{"x"}, fails(3, 3), false},
		{"TLS", 5, nil, fails(5, 1), false},
		{"structured replies", 8, nil, fails(8, 1), false},
		{"export name", 1, []any{"abc"}, []any{uint64(8192), uint16(1 | 4 | 8)}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := connect(t, &memory{t: t, data: make([]byte, 8192)})
			p.greet()
			data := join(t, test.data...)
			p.write("IHAVEOPT", test.option, uint32(len(data)), data)
			p.want(test.want...)
			if test.transmit {
				p.request(0, commandFlush, 99, 0, 0)
				p.want(uint32(0x67446698), uint32(0), uint64(99))
				return
			}
			p.write("IHAVEOPT", uint32(2), uint32(0)) // abort: options go on until then
			p.want(replyMagic, uint32(2), uint32(1), uint32(0))
			p.ended()
		})
	}
}

func TestExportNameWithZeroes(t *testing.T) {
	p := connect(t, &memory{t: t, data: make([]byte, 8192)})
	p.want("NBDMAGICIHAVEOPT", uint16(3))
	p.write(uint32(1), "IHAVEOPT", uint32(1), uint32(0))
	p.want(uint64(8192), uint16(1|4|8), make([]byte, 124))
}

func TestHandshakeThatIsNone(t *testing.T) {
	tests := []struct {
		name string
		sent []any
	}{
		{"unknown flags", []any{uint32(7)}},
		{"no option", []any{uint32(3), "GET / HTTP/1.1\r\n"}},
		{"an export's name without end", []any{uint32(3), "IHAVEOPT", uint32(1), uint32(9000), make([]byte, 9000)}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := connect(t, &memory{t: t, data: make([]byte, 8192)})
			p.want("NBDMAGICIHAVEOPT", uint16(3))
			p.write(test.sent...)
			p.ended()
		})
	}
}

func TestRequests(t *testing.T) {
	content := make([]byte, 8192)
	for i := range content {
		content[i] = byte(i / 512)
	}
	block := bytes.Repeat([]byte{0xaa}, 512)
	ioError := errors.New("medium error")
	tests := []struct {
		name           string
		flags, command uint16
		offset         uint64
		length         uint32
		sent           []byte
		err            error
		code           uint32
		data           []byte
		calls          []string
	}{
		{"read", 0, 0, 1024, 1024, nil, nil, 0, content[1024:2048], []string{"read 1024+1024"}},
		{"read to the end", 0, 0, 7680, 512, nil, nil, 0, content[7680:], []string{"read 7680+512"}},
		{"read beyond the end", 0, 0, 7680, 1024, nil, nil, 22, nil, nil},
		{"read beyond all", 0, 0, ^uint64(511), 512, nil, nil, 22, nil, nil},
		{"read of a part of a block", 0, 0, 1, 512, nil, nil, 22, nil, nil},
		{"read of nothing", 0, 0, 0, 0, nil, nil, 22, nil, nil},
		{"read that fails", 0, 0, 0, 512, nil, ioError, 5, nil, []string{"read 0+512"}},
		{"write", 0, 1, 512, 512, block, nil, 0, nil, []string{"write 512+512"}},
		{"write through", 1, 1, 512, 512, block, nil, 0, nil, []string{"write through 512+512"}},
		{"write beyond the end", 0, 1, 8192, 512, block, nil, 28, nil, nil},
		{"write of a part of a block", 0, 1, 0, 100, block[:100], nil, 22, nil, nil},
		{"write that fails", 0, 1, 0, 512, block, ioError, 5, nil, []string{"write 0+512"}},
		{"flush", 0, 3, 0, 0, nil, nil, 0, nil, []string{"flush 0+0"}},
		{"flush that fails", 0, 3, 0, 0, nil, ioError, 5, nil, []string{"flush 0+0"}},
		{"trim", 0, 4, 0, 512, nil, nil, 22, nil, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := &memory{t: t, data: slices.Clone(content), err: test.err}
			p := connect(t, m)
			p.transmit()
			p.request(test.flags, test.command, 0x1234567890abcdef, test.offset, test.length, test.sent...)
			p.want(uint32(0x67446698), test.code, uint64(0x1234567890abcdef), test.data)
			m.fail(nil)
			p.request(0, commandRead, 7, 0, 512) // whatever it was, the next one is understood
			p.want(uint32(0x67446698), uint32(0), uint64(7))
			p.read(512)
			p.request(0, commandDisc, 8, 0, 0)
			p.ended()
			if diff := cmp.Diff(append(test.calls, "read 0+512"), m.calls); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
			if test.command == 1 && test.code == 0 && !bytes.Equal(m.data[512:1024], block) {
				t.Error("the device has not got what was written")
			}
		})
	}
}

func TestRequestsThatEndTheConnection(t *testing.T) {
	t.Run("no request", func(t *testing.T) {
		p := connect(t, &memory{t: t, data: make([]byte, 8192)})
		p.transmit()
		p.write(make([]byte, requestSize))
		p.ended()
	})
	t.Run("a write of more than is taken", func(t *testing.T) {
		p := connect(t, &memory{t: t, data: make([]byte, 8192)})
		p.transmit()
		p.request(0, commandWrite, 1, 0, 32<<20+512)
		p.ended()
	})
}

func TestAReadOfMoreThanIsTaken(t *testing.T) {
	p := connect(t, &memory{t: t, data: make([]byte, 33<<20)})
	p.transmit()
	p.request(0, commandRead, 1, 0, 32<<20+512)
	p.want(uint32(0x67446698), uint32(22), uint64(1))
	p.request(0, commandFlush, 2, 0, 0)
	p.want(uint32(0x67446698), uint32(0), uint64(2))
}

func TestASilentDeviceGivesNoReply(t *testing.T) {
	m := &memory{t: t, data: make([]byte, 8192), err: ErrSilent}
	p := connect(t, m)
	p.transmit()
	p.request(0, commandRead, 1, 0, 512)
	await.True(t, time.Minute, "the device is asked", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		return len(m.calls) == 1
	})
	m.fail(nil) // not even if it spoke again
	p.request(0, commandRead, 2, 0, 512)
	if err := p.conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	n, err := p.conn.Read(make([]byte, 1))
	if !isTimeout(err) {
		t.Errorf("read %d bytes, error %v, want none for as long as one waits", n, err)
	}
}

func FuzzSession(f *testing.F) {
	ask := []any{uint32(3), "IHAVEOPT", uint32(7), uint32(8), uint32(0), uint16(1), uint16(3)}
	f.Add(join(f, append(ask, uint32(0x25609513), uint16(1), uint16(1), uint64(1), uint64(512), uint32(512), make([]byte, 512))...))
	f.Add(join(f, append(ask, uint32(0x25609513), uint16(0), uint16(0), uint64(1), uint64(0), uint32(8192))...))
	f.Add(join(f, uint32(1), "IHAVEOPT", uint32(3), uint32(0), "IHAVEOPT", uint32(1), uint32(0), uint32(0x25609513), uint16(0), uint16(3), uint64(1)))
	f.Fuzz(func(t *testing.T, sent []byte) {
		conn := &script{in: bytes.NewReader(sent)}
		s := session{conn: conn, in: bufio.NewReader(conn), device: &memory{t: t, data: make([]byte, 8192)}}
		if err := s.run(); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, errProtocol) {
			t.Errorf("unexpected error %v", err)
		}
		if cap(s.data) > MaxRequest {
			t.Errorf("%d bytes were made for one request", cap(s.data))
		}
		if !bytes.HasPrefix(conn.out.Bytes(), greeting()) {
			t.Errorf("the server began with %q", conn.out.Bytes())
		}
	})
}

// script is a connection on which everything has been sent already.
type script struct {
	net.Conn
	in  *bytes.Reader
	out bytes.Buffer
}

func (s *script) Read(p []byte) (int, error)  { return s.in.Read(p) }
func (s *script) Write(p []byte) (int, error) { return s.out.Write(p) }
