package i2csim

import "time"

// Transaction is what a fault script knows of a transaction, before it takes
// place.
type Transaction struct {
	N     uint64 // counts the bus's transactions, from 1
	Addr  uint16
	Write []byte // the bytes to be written
	Read  int    // how many bytes are to be read
}

// Fault is what goes wrong with one transaction; the zero Fault is nothing.
type Fault struct {
	Delay time.Duration // the bus is held for so long first, for everyone
	Kind  Kind          // how the transaction fails, without reaching the device
	Flip  []byte        // bits to be inverted in the bytes read, from the first
}

// Faults decides what goes wrong with each transaction. It is called for one
// transaction at a time, with the bus locked: it must not use the bus. A
// stateful one is a method value.
type Faults func(Transaction) Fault

// Script makes faults by the transaction's number, from 1 on.
func Script(faults map[uint64]Fault) Faults {
	return func(t Transaction) Fault { return faults[t.N] }
}

// Only applies f to the transactions with one address.
func Only(addr uint16, f Faults) Faults {
	return func(t Transaction) Fault {
		if t.Addr != addr {
			return Fault{}
		}
		return f(t)
	}
}

// Always makes every transaction suffer f.
func Always(f Fault) Faults {
	return func(Transaction) Fault { return f }
}
