// Makes the server a replica set of one, if it is not yet, and waits until it can
// be written to. For mongosh on the server's own loopback.
try {
  rs.initiate({ _id: 'rs0', members: [{ _id: 0, host: 'mongodb:27017' }] });
} catch (error) {
  // It is one already: it says so, or wants to know who asks.
  if (!['AlreadyInitialized', 'CommandNotFound', 'Unauthorized'].includes(error.codeName)) throw error;
}
const deadline = Date.now() + 60_000;
while (!db.hello().isWritablePrimary) {
  if (Date.now() > deadline) throw new Error('the server has not become a primary within a minute');
  sleep(200);
}
