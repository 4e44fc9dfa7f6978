package i2csim

import (
	"sync"
	"time"
)

// Socket is a chip's connection to its bus, with the supply and the clock that
// it has there; all of them can fail. It is safe for concurrent use.
type Socket struct {
	chip Chip
	now  func() time.Time
	o    SocketOptions

	mu       sync.Mutex
	at       time.Time // what the chip's clock shows while it is led through the past; zero: now
	supplied time.Time // when the supply came, the last time that the chip was told so
	out      bool      // by Unplug
}

// SocketOptions say when a socket fails, by the chip's clock.
type SocketOptions struct {
	BrownOuts []Spans // the supply dips at the beginning of each
	Unplugged []Spans // the chip has neither bus nor supply
	Plugged   []Spans // it has both in these only; always if there are none

	// While Slow the chip's oscillator makes one tick where it should make
	// SlowBy, so that everything takes longer: conversions, start-up. Slow.From
	// must be set if SlowBy is. More than 1; 0 is never.
	Slow   Spans
	SlowBy float64
}

// NewSocket puts the chip that build makes with o into a socket. build is
// [NewChip] for a kind, or a chip's own constructor.
func NewSocket(build func(ChipOptions) (Chip, error), o ChipOptions, s SocketOptions) (*Socket, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	now := o.Now
	socket := &Socket{now: now, o: s}
	if o.Sleep == nil {
		o.Sleep = func(d time.Duration) { <-time.After(d) }
	}
	if s.SlowBy != 0 && o.Source != nil {
		o.Source = slowed{o.Source, socket}
		sleep := o.Sleep
		o.Sleep = func(d time.Duration) {
			begun := now()
			sleep(socket.real(socket.slow(begun).Add(d)).Sub(begun))
		}
	}
	o.Now = socket.clock
	chip, err := build(o)
	if err != nil {
		return nil, err
	}
	socket.chip = chip
	return socket, nil
}

// Write implements Device.
func (s *Socket) Write(p []byte) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.catchUp() {
		return -1
	}
	return s.chip.Write(p)
}

// Read implements Device.
func (s *Socket) Read(p []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.catchUp() && s.chip.Read(p)
}

// PowerCycle implements Chip.
func (s *Socket) PowerCycle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.catchUp()
	s.chip.PowerCycle()
}

// Unplug takes the chip out, until Plug.
func (s *Socket) Unplug() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out = true
}

// Plug puts the chip back in. Its supply comes now.
func (s *Socket) Plug() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out {
		s.out = false
		s.catchUp()
		s.chip.PowerCycle()
	}
}

// LastConversion implements Chip, in the time of the socket's clock.
func (s *Socket) LastConversion() (Conversion, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.catchUp() {
		return Conversion{}, false
	}
	last, ok := s.chip.LastConversion()
	if ok && s.o.SlowBy != 0 {
		last.Start, last.End = s.real(last.Start), s.real(last.End)
	}
	return last, ok
}

// catchUp carries out what has happened to the supply up to now, and reports
// whether the chip is there. Of several times at which the supply came only the
// last is left to see.
func (s *Socket) catchUp() bool {
	now := s.now()
	var came time.Time
	later := func(t time.Time) {
		if t.After(came) {
			came = t
		}
	}
	there := len(s.o.Plugged) == 0
	for _, spans := range s.o.Plugged {
		later(spans.begun(now))
		there = there || spans.Contain(now)
	}
	for _, spans := range s.o.Unplugged {
		later(spans.ended(now))
		there = there && !spans.Contain(now)
	}
	for _, spans := range s.o.BrownOuts {
		later(spans.begun(now))
	}
	if came.After(s.supplied) {
		s.at, s.supplied = came, came
		s.chip.PowerCycle()
		s.at = time.Time{}
	}
	return there && !s.out
}

// clock is the chip's. The chip asks only when it is called, with s locked.
func (s *Socket) clock() time.Time {
	if !s.at.IsZero() {
		return s.slow(s.at)
	}
	return s.slow(s.now())
}

// slow returns what the chip's clock shows at t.
func (s *Socket) slow(t time.Time) time.Time {
	if s.o.SlowBy == 0 {
		return t
	}
	return t.Add(-time.Duration(float64(s.o.Slow.Within(t)) * (1 - 1/s.o.SlowBy)))
}

// real returns when the chip's clock shows t, which is never sooner.
func (s *Socket) real(t time.Time) time.Time {
	least, most := t, t.Add(time.Duration(float64(max(0, t.Sub(s.o.Slow.From)))*(s.o.SlowBy-1))+time.Microsecond)
	for most.Sub(least) > 1 {
		middle := least.Add(most.Sub(least) / 2)
		if s.slow(middle).Before(t) {
			least = middle
		} else {
			most = middle
		}
	}
	return most
}

// slowed is a Source for a chip whose clock lags.
type slowed struct {
	Source
	socket *Socket
}

func (s slowed) At(t time.Time) Environment { return s.Source.At(s.socket.real(t)) }
