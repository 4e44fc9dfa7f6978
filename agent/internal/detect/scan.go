package detect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"periph.io/x/conn/v3/i2c"

	"github.com/telltale-iot/telltale/agent/internal/sample"
)

// Adapter is an I2C bus of the host.
type Adapter struct {
	Name  string            // as a configuration names it: "1"
	Label string            // as the kernel does: "bcm2835 (i2c@7e804000)"
	Taken map[uint16]string // the addresses that the kernel's drivers have, with the device's name
}

// Match is how sure it is that a chip is of a kind.
type Match uint8

// The matches.
const (
	No Match = iota
	Probable
	Certain
)

// Kind is a kind of chip.
type Kind struct {
	Driver    string // as a configuration names it
	Addresses []uint16

	// Recognise looks at what answers at the address, and says from what it
	// concludes. It may read, and write the address of a register that every
	// chip of the kind has. Nothing else: the chip may be of any other kind.
	Recognise func(bus i2c.Bus, address uint16) (m Match, evidence string)

	// Silent is whether a chip of the kind acknowledges no read before a
	// command. Recognise then writes one that only asks.
	Silent bool
}

// Finding is an address that something has.
type Finding struct {
	Address  uint16
	Driver   string // "": none of ours
	Match    Match  // to what Driver reads
	Evidence string
	Kernel   string // the device as which a driver of the kernel has the address
}

// The errors of a bus that cannot be scanned, for errors.Is.
var (
	// ErrStuck means that transactions fail in another way than that nothing
	// answers.
	ErrStuck = errors.New("bus does not work")
	// ErrEverywhere means that every address is acknowledged.
	ErrEverywhere = errors.New("every address answers")
)

// The addresses that are left to devices.
const (
	firstAddress = 0x08
	lastAddress  = 0x77
)

// maxErrors is how many transactions in a row may fail before a bus is given up.
// One that is held low can take a second for each.
const maxErrors = 3

// Scan returns what is on the bus, in the order of the addresses.
func Scan(ctx context.Context, bus i2c.Bus, a Adapter, kinds []Kind) ([]Finding, error) {
	var found []Finding
	failed, silent := 0, false
	for address := uint16(firstAddress); address <= lastAddress; address++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if name, taken := a.Taken[address]; taken {
			found = append(found, Finding{Address: address, Kernel: name})
			continue
		}
		var b [1]byte
		switch err := bus.Tx(address, nil, b[:]); {
		case err == nil:
			failed = 0
			found = append(found, identify(bus, address, kinds))
		case sample.Reason(err) == sample.NACK:
			failed, silent = 0, true
			if f := identify(bus, address, ofSilent(kinds)); f.Match != No {
				found = append(found, f)
			}
		default:
			if failed++; failed == maxErrors {
				return nil, fmt.Errorf("%w: %w", ErrStuck, err)
			}
		}
	}
	if !silent && len(found) > len(a.Taken) {
		return nil, ErrEverywhere
	}
	return found, nil
}

func ofSilent(kinds []Kind) []Kind {
	return slices.DeleteFunc(slices.Clone(kinds), func(k Kind) bool { return !k.Silent })
}

// identify asks the kinds that can have the address.
func identify(bus i2c.Bus, address uint16, kinds []Kind) Finding {
	best := Finding{Address: address}
	var against []string
	for _, k := range kinds {
		if !slices.Contains(k.Addresses, address) {
			continue
		}
		m, evidence := k.Recognise(bus, address)
		switch {
		case m > best.Match:
			best.Driver, best.Match, best.Evidence = k.Driver, m, evidence
		case m == No && !slices.Contains(against, evidence):
			against = append(against, evidence)
		}
	}
	if best.Match == No {
		best.Evidence = strings.Join(against, "; ")
	}
	return best
}
