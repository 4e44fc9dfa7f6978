// Makes the replica set of one and the users, once the server runs. Run by
// mongosh. It may be run again, and then sets the passwords to what the files
// have now. While there is no user, MongoDB lets the loopback make the first.
const fs = require('node:fs');
const secret = (name) => fs.readFileSync(`/run/secrets/${name}`, 'utf8').trim();
const admin = db.getSiblingDB('admin');

const initiate = () => {
  try {
    rs.initiate({ _id: 'rs0', members: [{ _id: 0, host: 'mongodb:27017' }] });
  } catch (error) {
    // Initialized before: by this, or by a server that is a replica set by itself.
    if (!['AlreadyInitialized', 'CommandNotFound', 'Unauthorized'].includes(error.codeName)) throw error;
  }
  const deadline = Date.now() + 60_000;
  while (!admin.hello().isWritablePrimary) {
    if (Date.now() > deadline) throw new Error('the server has not become a primary within a minute');
    sleep(200);
  }
};

// put makes a user, or sets what it is if it is there.
const put = (database, user, description) => {
  const target = db.getSiblingDB(database);
  try {
    target.createUser({ user, ...description });
  } catch (error) {
    if (!/already exists/.test(error.message)) throw error;
    target.updateUser(user, description);
  }
};

initiate();
const root = secret('mongodb_root.password');
try {
  admin.createUser({ user: 'root', pwd: root, roles: ['root'] });
} catch (error) {
  // There are users already, so the loopback must say who it is.
  if (!/already exists/.test(error.message) && !['Unauthorized', 'NotAuthorized'].includes(error.codeName)) throw error;
}
admin.auth('root', root);
put('admin', 'telltale-ingest', { pwd: secret('mongodb_ingest.password'), roles: [{ role: 'readWrite', db: 'iot' }] });
// These have certificates instead of passwords.
put('$external', 'CN=telltale-exporter,OU=client,O=telltale', { roles: [{ role: 'clusterMonitor', db: 'admin' }, { role: 'read', db: 'local' }] });
put('$external', 'CN=telltale-viewer,OU=client,O=telltale', { roles: [{ role: 'read', db: 'iot' }] });
print('mongodb: the users are made');
