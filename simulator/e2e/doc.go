// Package e2e has the tests of the whole pipeline, and nothing else.
//
// Without a build tag they run on the embedded servers. With the tag
// integration they run the built programs as processes of their own against
// Mosquitto, Apache Kafka, Prometheus and a MongoDB server, which
// deploy/local/servers starts, and kill them.
package e2e
