// Package ledger follows readings through a running system: it reads the
// Kafka topics from their beginning, looks the newest reading of each sensor up
// in MongoDB, and keeps the account that the lab's screen shows.
package ledger
