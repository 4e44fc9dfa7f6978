//go:build !race

package e2e

// fleetDevices is how many agents TestFleetReturns has.
const fleetDevices = 1000
