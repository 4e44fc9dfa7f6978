// Package drivers holds what the chip drivers below it have in common: the
// kinds of error that a reading can end in, and the wait between a command
// and its result. README.md says what a driver is and how to add one.
package drivers
