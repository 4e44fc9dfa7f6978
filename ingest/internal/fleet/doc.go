// Package fleet shows to Prometheus what devices say of themselves on their
// status topics, which the broker retains: so a device is seen that sends no
// readings, and one that has gone. The README of the agent has the status.
package fleet
