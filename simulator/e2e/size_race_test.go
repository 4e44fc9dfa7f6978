//go:build race

package e2e

// fleetDevices is how many agents TestFleetReturns has. The race detector does not
// take more than 8128 goroutines, and an agent with both ends of its connection has 22.
const fleetDevices = 150
