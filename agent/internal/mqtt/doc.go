// Package mqtt connects the agent to its broker: it publishes what the uplink
// hands it, subscribes to the receipts and keeps the status topic. It is the
// only importer of the MQTT client, Paho, in the agent.
//
// # Why it reconnects by itself
//
// Each connection has a Paho client of its own, with automatic reconnects off
// and a store that keeps nothing. Paho's reconnect repeats what was not
// acknowledged, from memory that grows with an outage, and waits without jitter;
// the uplink does both better, from the buffer. And a client that serves one
// connection has no state that could outlive it.
//
// Sessions are clean: a receipt that is missed while offline costs a resend.
//
// # Concurrency
//
// [Client.Run] owns the connections; [Client.Publish] may be called beside it,
// from any goroutine. Two goroutines of ours serve a connection beside Run's. All
// end with it but one, which outlasts it by up to WriteTimeout if the connection
// breaks just while it hands a message to Paho.
//
// Sources: MQTT 3.1.1, OASIS Standard, 29 October 2014; the sections are cited
// where they matter.
package mqtt
