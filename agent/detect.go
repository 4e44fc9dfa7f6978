package agent

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"

	"periph.io/x/conn/v3/i2c"

	"github.com/telltale-iot/telltale/agent/internal/config"
	"github.com/telltale-iot/telltale/agent/internal/detect"
	"github.com/telltale-iot/telltale/agent/internal/diagnose"
)

// Adapter is an I2C bus of the host.
type Adapter = detect.Adapter

// DetectOptions say where [Detect] looks. The zero DetectOptions are all buses of the
// host.
type DetectOptions struct {
	Buses []string // as in a configuration; none: all

	OpenBus  func(name string) (i2c.BusCloser, error) // nil: the host's
	Adapters func() ([]Adapter, error)                // nil: the host's
}

// Detected is what was found on the buses.
type Detected []detect.Bus

// ErrNoBus means that the host has no I2C bus. Its text says what to do.
var ErrNoBus = errors.New("this machine has no I2C bus -> " + diagnose.NoBusHint)

// Detect looks which chips are on the buses. What it does there is in the
// documentation of package detect: it is harmless to chips that it does not know. A
// bus that cannot be opened or scanned is part of what was found. The error is
// ErrNoBus, that of listing the buses, or of ctx.
func Detect(ctx context.Context, o DetectOptions) (Detected, error) {
	if o.OpenBus == nil {
		o.OpenBus = openHostBus
	}
	if o.Adapters == nil {
		o.Adapters = hostAdapters
	}
	adapters, err := o.Adapters()
	if err != nil {
		return nil, err
	}
	if len(o.Buses) > 0 {
		adapters = named(o.Buses, adapters)
	}
	if len(adapters) == 0 {
		return nil, ErrNoBus
	}
	host := diagnose.Host()
	var found Detected
	for _, a := range adapters {
		b := detect.Bus{Adapter: a}
		if b.Found, b.Err = scan(ctx, o.OpenBus, a); b.Err != nil {
			b.Hint = diagnose.BusHint(b.Err, host.User())
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		found = append(found, b)
	}
	return found, nil
}

// named returns the adapters of those names, each once: those of the host as it
// knows them, and others as they were named.
func named(names []string, adapters []Adapter) (some []Adapter) {
	for _, name := range names {
		name = strings.TrimPrefix(name, "/dev/i2c-")
		a := Adapter{Name: name}
		i := slices.IndexFunc(adapters, func(a Adapter) bool { return a.Name == name || a.Label == name })
		if i >= 0 {
			a = adapters[i]
		}
		if !slices.ContainsFunc(some, func(b Adapter) bool { return b.Name == a.Name }) {
			some = append(some, a)
		}
	}
	return some
}

func scan(ctx context.Context, open func(string) (i2c.BusCloser, error), a Adapter) ([]detect.Finding, error) {
	bus, err := open(a.Name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = bus.Close() }() // nothing was written that could be lost
	return detect.Scan(ctx, bus, a, detectable())
}

// detectable are the kinds of chip as package detect wants them.
func detectable() (all []detect.Kind) {
	for _, k := range kinds() {
		addresses := config.Chip{Driver: k.driver}.Addresses()
		all = append(all, detect.Kind{Driver: k.driver, Addresses: addresses, Recognise: k.recognise, Silent: k.silent})
	}
	return all
}

// Chips returns how many chips were found that an agent can read.
func (d Detected) Chips() (n int) {
	for i := range d {
		n += d[i].Chips()
	}
	return n
}

// WriteFindings writes for people what is on the buses.
func (d Detected) WriteFindings(w io.Writer) error { return detect.WriteFindings(w, d) }

// WriteConfig writes a configuration, as YAML, that reads the chips: of a device, and
// a broker, which may be "" and is then left for the reader to fill in.
func (d Detected) WriteConfig(w io.Writer, device, url string) error {
	return detect.WriteConfig(w, d, device, url)
}
