// Package agent reads the sensors of a device and delivers the readings: chips
// on I2C buses are sampled on schedule, each reading is stored in the buffer at
// once, and the uplink publishes what is in the buffer and frees it when ingest
// has receipted it. README.md says what the agent does and what it tells of
// itself.
//
// Here everything is only put together: sampling is in internal/sample, the
// buffer in internal/buffer, the uplink in internal/uplink and the broker in
// internal/mqtt. Nothing that happens to a sensor, the disk or the network ends
// [Agent.Run]; what can be wrong from the start (settings, a buffer in use by
// another process or of a newer version, a metrics address in use) ends it at
// once.
package agent
