// Package trial remembers which versions of a program have been seen to work on a
// device, so that a new one can be told from one that is known to be good.
//
// A version is on trial at its first start beside versions that have been proven.
// It is on trial once: a second start of it, with no other version in between,
// says that nobody has put the former one back, so that there is nothing to hold
// the new one against. Nor is there where no version was ever proven.
//
// The file is an object of JSON. It is replaced as a whole, so that after a power
// cut it is the one of before or the one of after:
//
//	{"proven":["v1.3.0","v1.2.0"],"trial":"v1.4.0"}
package trial
