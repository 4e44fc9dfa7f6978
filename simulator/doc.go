// Package simulator runs fleets of real agents on emulated chips. An agent of
// a fleet is the agent of production, with its configuration, drivers, buffer
// and uplink; only the bus below it is emulated, register by register.
package simulator
