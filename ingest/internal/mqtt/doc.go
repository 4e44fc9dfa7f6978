// Package mqtt is the ingest service's adapter to an MQTT 3.1.1 broker, and the
// only package that imports its client, Eclipse Paho.
//
// A [Broker] is the way to one broker. From it come [Subscriber], which hands
// received messages to a function and acknowledges each when it is told to, and
// [Publisher], which sends messages at QoS 0. Each has a connection of its own:
// a broker may lose deliveries when one client both publishes and subscribes.
//
// # What is Paho's and what is not
//
// Paho makes the session: CONNECT, SUBSCRIBE, PING, the parsing of packets. As
// it comes it spends two fifths of its time in system calls, four reads for a
// message and a write for an acknowledgement, so it runs on a connection of ours
// ([conn]) that reads through a buffer and gathers writes. PUBACK and QoS 0
// PUBLISH packets, of which there are very many, are written straight to that
// connection, not through Paho's channels. Its message store holds nothing: with
// clean sessions there is nothing to resume, and what a persistent session has
// not seen acknowledged the broker sends again.
//
// Paho's own reconnecting is not used. A connection that is lost is followed by
// a new one after an exponential backoff with jitter, without end.
//
// # Concurrency
//
// Run owns a connection and returns when its context has ended and all that it
// started has. The function that takes the messages is called by one goroutine
// at a time, in the order of arrival. While it blocks, nothing more is read, so
// that the broker holds what cannot be taken.
//
// Sources: MQTT Version 3.1.1 (OASIS), Paho v1.5.1.
package mqtt
