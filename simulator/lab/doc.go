// Package lab embeds the three servers that telltale needs, so that the whole
// system runs on a laptop with nothing but Go installed: an MQTT broker
// (mochi-mqtt), a Kafka broker (franz-go's kfake) and a MongoDB wire server
// (FerretDB on SQLite). Each is one constructor that listens on a real TCP
// socket, has an Addr and is stopped by Close.
//
// They stand in for demonstrations and tests. They ask no client for a
// password and must listen on the loopback only; none promises durability, and
// FerretDB's compare-and-set is not atomic between two writers. What the real
// servers promise is tested on the real servers.
package lab
