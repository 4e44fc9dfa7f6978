package usbredir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/telltale-iot/telltale/simulator/usb"
)

// Device is what is plugged into a port. The port calls it for one transfer at
// a time.
type Device interface {
	Descriptor() usb.Descriptor
	// Control carries out a control transfer. The error usb.ErrStall is told to
	// the machine; with usb.ErrNoAnswer it hears nothing until it gives up.
	Control(s usb.Setup, data []byte) ([]byte, error)
}

// Port is a USB port of a machine, with a device that can be pulled and plugged
// in again. Plug and Unplug are safe for concurrent use and do not wait.
type Port struct {
	device  Device
	changed chan struct{}

	mu      sync.Mutex
	plugged bool
}

// NewPort returns a port with d plugged in.
func NewPort(d Device) *Port {
	return &Port{device: d, plugged: true, changed: make(chan struct{}, 1)}
}

// Plug plugs the device in, if it is not.
func (p *Port) Plug() { p.set(true) }

// Unplug pulls the device, if it is plugged in.
func (p *Port) Unplug() { p.set(false) }

func (p *Port) set(plugged bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.plugged = plugged
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

func (p *Port) isPlugged() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.plugged
}

// Serve speaks for the device on conn, which is the chardev of QEMU's device
// usb-redir, until the machine closes it or ctx ends, and closes it. Neither is
// an error. Serve must not be called again before it returns.
func (p *Port) Serve(ctx context.Context, conn io.ReadWriteCloser) error {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(inner, func() { _ = conn.Close() })
	packets := make(chan packet)
	ended := make(chan error, 1)
	go func() { ended <- receive(inner, conn, packets) }()
	s := session{port: p, conn: conn, hanging: make(map[uint64]packet)}
	err := s.run(inner, packets, ended)
	cancel()
	for range packets { // until receive has ended
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// receive reads packets from r until that ends, and closes packets. The first,
// the hello, has a short id.
func receive(ctx context.Context, r io.Reader, packets chan<- packet) error {
	defer close(packets)
	for wide := false; ; wide = true {
		p, err := read(r, wide)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case packets <- p:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// session is what Serve knows of one connection.
type session struct {
	port *Port
	conn io.Writer

	connected bool              // the machine has been told of the device
	leaving   bool              // and that it was pulled, but has not acknowledged that
	hanging   map[uint64]packet // transfers without an answer
}

func (s *session) run(ctx context.Context, packets <-chan packet, ended <-chan error) error {
	if err := s.send(false, hello()); err != nil {
		return err
	}
	greeted := false
	for {
		if greeted {
			if err := s.follow(); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.port.changed:
		case p, ok := <-packets:
			if !ok {
				return <-ended
			}
			handle := s.handle
			if !greeted {
				handle, greeted = parseHello, true
			}
			if err := handle(p); err != nil {
				return fmt.Errorf("usbredir: %w", err)
			}
		}
	}
}

// follow tells the machine if the device was plugged in or pulled.
func (s *session) follow() error {
	plugged := s.port.isPlugged()
	switch {
	case plugged && !s.connected && !s.leaving:
		s.connected = true
		return s.send(true, connect(s.port.device.Descriptor())...)
	case !plugged && s.connected:
		s.connected, s.leaving = false, true
		clear(s.hanging)
		return s.send(true, packet{kind: typeDisconnect})
	}
	return nil
}

func (s *session) handle(p packet) error {
	if p.kind == typeDisconnectAck {
		s.leaving = false
		return nil
	}
	if !s.connected {
		return nil // sent before the machine knew
	}
	switch p.kind {
	case typeReset:
		return nil
	case typeCancel:
		if hangs, ok := s.hanging[p.id]; ok {
			delete(s.hanging, p.id)
			return s.send(true, answerControl(hangs, cancelled, nil))
		}
		return nil // it was answered meanwhile
	case typeControl:
		return s.control(p)
	case typeSetConfiguration:
		if len(p.body) == 1 {
			return s.send(true, packet{typeConfiguration, p.id, []byte{success, p.body[0]}})
		}
	case typeGetConfiguration:
		return s.send(true, packet{typeConfiguration, p.id, []byte{success, 1}})
	case typeSetAlternate:
		if len(p.body) == 2 {
			return s.send(true, packet{typeAlternate, p.id, []byte{success, p.body[0], p.body[1]}})
		}
	case typeGetAlternate:
		if len(p.body) == 1 {
			return s.send(true, packet{typeAlternate, p.id, []byte{success, p.body[0], 0}})
		}
	}
	return fmt.Errorf("packet of type %d with %d bytes: want one that a device with only a control endpoint can answer", p.kind, len(p.body))
}

func (s *session) control(p packet) error {
	setup, data, err := parseControl(p)
	if err != nil {
		return err
	}
	answer, err := s.port.device.Control(setup, data)
	switch {
	case err == nil:
		return s.send(true, answerControl(p, success, answer))
	case errors.Is(err, usb.ErrNoAnswer):
		s.hanging[p.id] = p
		return nil
	case errors.Is(err, usb.ErrStall):
		return s.send(true, answerControl(p, stalled, nil))
	default:
		return s.send(true, answerControl(p, ioError, nil))
	}
}

func (s *session) send(wide bool, packets ...packet) error {
	for _, p := range packets {
		if _, err := s.conn.Write(p.marshal(wide)); err != nil {
			return fmt.Errorf("usbredir: %w", err)
		}
	}
	return nil
}
