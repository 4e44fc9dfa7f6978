// Package migrate reads the frames that the replaced system left in MongoDB
// and stores them as ingest would have: as documents of iot_frames, and in
// windows of sensors and of places, which are computed anew.
//
// Every store compares revisions, and every identity is stored once. So a
// migration that ends anywhere is done again from its beginning, to the same
// result, and one that was done changes nothing.
package migrate
