package i2csim

import (
	"math/rand/v2"
	"slices"
	"time"
)

// Transaction is what a fault script knows of a transaction, before it takes
// place.
type Transaction struct {
	N       uint64 // counts the bus's transactions, from 1
	Addr    uint16
	Write   []byte   // the bytes to be written
	Read    int      // how many bytes are to be read
	Devices []Device // those with the address, behind switches too
}

// Fault is what goes wrong with one transaction; the zero Fault is nothing.
type Fault struct {
	Recover bool          // a stuck bus is freed first, as by [Bus.Recover]
	Delay   time.Duration // the bus is held for so long first, for everyone
	Kind    Kind          // how the transaction fails, without reaching the device
	Flip    []byte        // bits to be inverted in the bytes read, from the first
}

// Faults decides what goes wrong with each transaction. It is called for one
// transaction at a time, with the bus locked: it must not use the bus. A
// stateful one is a method value or a closure.
type Faults func(Transaction) Fault

// Script makes faults by the transaction's number, from 1 on.
func Script(faults map[uint64]Fault) Faults {
	return func(t Transaction) Fault { return faults[t.N] }
}

// Only applies f to the transactions with one address.
func Only(addr uint16, f Faults) Faults {
	return If(func(t Transaction) bool { return t.Addr == addr }, f)
}

// Always makes every transaction suffer f.
func Always(f Fault) Faults {
	return func(Transaction) Fault { return f }
}

// If applies f to the transactions of which c is true.
func If(c Condition, f Faults) Faults {
	return func(t Transaction) Fault {
		if !c(t) {
			return Fault{}
		}
		return f(t)
	}
}

// Together applies all of fs: the delays add up, the first kind counts, and a
// bit that two invert is as it was.
func Together(fs ...Faults) Faults {
	return func(t Transaction) Fault {
		var sum Fault
		for _, f := range fs {
			one := f(t)
			sum.Recover = sum.Recover || one.Recover
			sum.Delay += one.Delay
			if sum.Kind == None {
				sum.Kind = one.Kind
			}
			sum.Flip = xor(sum.Flip, one.Flip)
		}
		return sum
	}
}

func xor(a, b []byte) []byte {
	if len(b) > len(a) {
		a, b = b, a
	}
	sum := slices.Clone(a)
	for i := range b {
		sum[i] ^= b[i]
	}
	return sum
}

// FlipByte inverts the bits of mask in byte i of what is read, from 0: in a
// checksum, if that is where the chip sends one.
func FlipByte(i int, mask byte) Fault {
	flip := make([]byte, i+1)
	flip[i] = mask
	return Fault{Flip: flip}
}

// FlipBit inverts one bit of what is read, drawn anew for each transaction.
func FlipBit(seed uint64) Faults {
	r := rand.New(rand.NewPCG(seed, streamFlip))
	return func(t Transaction) Fault {
		if t.Read == 0 {
			return Fault{}
		}
		return FlipByte(r.IntN(t.Read), 1<<r.IntN(8))
	}
}

// HoldLow keeps the data line low while c is true, from a transaction on, and
// frees it with the first one of which c is false. Each transaction meanwhile
// fails as [Stuck] after the delay, which is the adapter's timeout.
func HoldLow(c Condition, delay time.Duration) Faults {
	held := false
	return func(t Transaction) Fault {
		before := held
		held = c(t)
		switch {
		case held:
			return Fault{Kind: Stuck, Delay: delay}
		case before:
			return Fault{Recover: true}
		}
		return Fault{}
	}
}

// Do calls f for each transaction before it takes place, and lets nothing go
// wrong with it. f must not use the bus; it may cycle a chip's power.
func Do(f func()) Faults {
	return func(Transaction) Fault {
		f()
		return Fault{}
	}
}

// Condition chooses transactions. Like [Faults], it is called for one
// transaction at a time, with the bus locked, and those that count are for one
// use only.
type Condition func(Transaction) bool

// All is true of the transactions of which all of cs are. They are asked in
// their order, until one is not: so a later one counts only what is left.
func All(cs ...Condition) Condition {
	return func(t Transaction) bool {
		for _, c := range cs {
			if !c(t) {
				return false
			}
		}
		return true
	}
}

// Reaching is true of the transactions with one device, wherever it is.
func Reaching(d Device) Condition {
	return func(t Transaction) bool { return slices.Contains(t.Devices, d) }
}

// Reading is true of the transactions that read n bytes or more.
func Reading(n int) Condition {
	return func(t Transaction) bool { return t.Read >= n }
}

// During is true in the spans, by the clock now.
func During(now func() time.Time, s Spans) Condition {
	return func(Transaction) bool { return s.Contain(now()) }
}

// Nth is true of the transactions that it is asked of, counted from 1, with
// one of the numbers.
func Nth(numbers ...uint64) Condition {
	var n uint64
	return func(Transaction) bool {
		n++
		return slices.Contains(numbers, n)
	}
}

// EveryNth is true of each nth transaction that it is asked of.
func EveryNth(n uint64) Condition {
	var asked uint64
	return func(Transaction) bool {
		asked++
		return asked%n == 0
	}
}

// OneIn is true of one in n transactions that it is asked of, at random.
func OneIn(n, seed uint64) Condition {
	r := rand.New(rand.NewPCG(seed, streamOneIn))
	return func(Transaction) bool { return r.Uint64N(n) == 0 }
}

// Streams keep what is drawn from one seed independent of each other.
const (
	streamFlip = iota + 1
	streamOneIn
)
