package usbip

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"

	"github.com/telltale-iot/telltale/simulator/usb"
)

// Device is an emulated USB device with nothing but a control endpoint.
// *tinyusb.Adapter is one. Its transfers come one at a time.
type Device interface {
	Descriptor() usb.Descriptor
	// Control carries out one control transfer: data is what comes from the
	// host, the answer what goes to it. The error is usb.ErrStall or
	// usb.ErrNoAnswer.
	Control(s usb.Setup, data []byte) ([]byte, error)
}

const (
	busNumber = 1
	fullSpeed = 2 // USB_SPEED_FULL
)

// export is a device that is offered.
type export struct {
	device Device
	busID  string
	number uint32

	mu   sync.Mutex
	host net.Conn // of the client that has it; nil: nobody
}

// Server offers devices. It is safe for concurrent use.
type Server struct {
	logger  *slog.Logger
	exports []*export
}

// NewServer returns a server that offers the devices, the first as 1-1.
func NewServer(logger *slog.Logger, devices ...Device) *Server {
	s := &Server{logger: logger}
	for i, d := range devices {
		s.exports = append(s.exports, &export{device: d, busID: BusID(i), number: uint32(i + 1)})
	}
	return s
}

// BusID returns the name by which a client attaches device i, counted from 0.
func BusID(i int) string { return fmt.Sprintf("%d-%d", busNumber, i+1) }

// Serve accepts connections until ctx ends. Then it closes the listener and all
// connections, which unplugs the devices. Its error is the listener's.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	var conns sync.WaitGroup
	defer conns.Wait()
	serving, stop := context.WithCancel(ctx)
	defer stop()
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		conns.Go(func() {
			defer context.AfterFunc(serving, func() { _ = conn.Close() })()
			defer conn.Close()
			if err := s.serve(conn); err != nil && serving.Err() == nil {
				s.logger.Warn("usbip connection ended", "client", conn.RemoteAddr(), "error", err)
			}
		})
	}
}

// serve serves one connection until it ends. Its end is no error between two
// messages.
func (s *Server) serve(conn net.Conn) error {
	req, err := readRequest(conn)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return err
	}
	if req.code == requestList {
		_, err := conn.Write(s.list())
		return err
	}
	e, status := s.take(conn, req.busID)
	b := appendAnswer(nil, answerImport, status)
	if e == nil {
		_, err := conn.Write(b)
		return err
	}
	defer e.release()
	if _, err := conn.Write(e.appendDevice(b)); err != nil {
		return err
	}
	s.logger.Info("usb device attached", "device", e.busID, "client", conn.RemoteAddr())
	defer s.logger.Info("usb device detached", "device", e.busID, "client", conn.RemoteAddr())
	return e.serve(conn)
}

func (s *Server) list() []byte {
	b := appendAnswer(nil, answerList, statusOK)
	b = appendWords(b, uint32(len(s.exports)))
	for _, e := range s.exports {
		b = e.appendInterface(e.appendDevice(b))
	}
	return b
}

// take gives a device to a client, if nobody has it.
func (s *Server) take(conn net.Conn, busID string) (*export, uint32) {
	for _, e := range s.exports {
		if e.busID != busID {
			continue
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.host != nil {
			return nil, statusAttached
		}
		e.host = conn
		return e, statusOK
	}
	return nil, statusAbsent
}

func (e *export) release() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.host = nil
}

// serve carries out transfers until the connection ends.
func (e *export) serve(conn net.Conn) error {
	unanswered := make(map[uint32]bool)
	for {
		h, err := readHeader(conn)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		var answer []byte
		if h.command == unlink {
			answer = unlinkAnswerOf(h.number, unlinked(unanswered, h.victim))
		} else if answer, err = e.submit(conn, &h); err != nil {
			return err
		} else if answer == nil {
			if len(unanswered) == maxUnanswered {
				return fmt.Errorf("%w: %d transfers without an answer: want them unlinked", errProtocol, maxUnanswered)
			}
			unanswered[h.number] = true
			continue
		}
		if _, err := conn.Write(answer); err != nil {
			return err
		}
	}
}

// maxUnanswered bounds the transfers that a client waits for. A control
// endpoint has one at a time.
const maxUnanswered = 64

// unlinked forgets a transfer and returns the status of its unlinking: 0 if it
// had its answer before.
func unlinked(unanswered map[uint32]bool, number uint32) int32 {
	if !unanswered[number] {
		return 0
	}
	delete(unanswered, number)
	return -econnreset
}

// submit carries out one transfer and returns its answer, nil if it has none.
func (e *export) submit(conn io.Reader, h *header) ([]byte, error) {
	var data []byte
	if !h.in {
		data = make([]byte, h.length)
		if _, err := io.ReadFull(conn, data); err != nil {
			return nil, err
		}
	}
	if h.end != 0 || h.in != h.setup.In() && h.length > 0 {
		return submitAnswerOf(h.number, -epipe, 0, nil), nil
	}
	answer, err := e.device.Control(h.setup, data)
	status := statusOf(err)
	switch {
	case errors.Is(err, usb.ErrNoAnswer):
		return nil, nil
	case status != 0:
		return submitAnswerOf(h.number, status, 0, nil), nil
	case h.in:
		answer = answer[:min(len(answer), int(h.length))]
		return submitAnswerOf(h.number, 0, len(answer), answer), nil
	}
	return submitAnswerOf(h.number, 0, len(data), nil), nil
}

// statusOf is the status of a transfer that ended with err. A device fails in
// no other way than by a stall.
func statusOf(err error) int32 {
	if err != nil {
		return -epipe
	}
	return 0
}
