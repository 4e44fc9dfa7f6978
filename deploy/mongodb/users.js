// Makes MongoDB's roles and users for telltale, or sets them to what is here. For
// mongosh on the server's own host, where MongoDB lets the first user be made:
//
//   mongosh --tls --tlsCAFile ca.crt 'mongodb://localhost/?directConnection=true' deploy/mongodb/users.js
//
// The passwords are in the folder SECRETS (default: /run/secrets), in the files
// root.password, ingest.password and read.password. README.md says who is who.
const fs = require('node:fs');
const folder = process.env.SECRETS ?? '/run/secrets';
const secret = (user) => fs.readFileSync(`${folder}/${user}.password`, 'utf8').trim();
const database = process.env.DATABASE ?? 'iot';
const admin = db.getSiblingDB('admin');

const root = secret('root');
try {
  admin.createUser({ user: 'root', pwd: root, roles: ['root'] });
} catch (error) {
  // There are users already, so even this host must say who it is.
  if (!/already exists/.test(error.message) && error.codeName !== 'Unauthorized') throw error;
}
admin.auth('root', root);

// put makes something, or sets it if it is there.
const put = (make, set) => {
  try {
    make();
  } catch (error) {
    if (!/already exists/.test(error.message)) throw error;
    set();
  }
};

const on = (collection, ...actions) => ({ resource: { db: database, collection }, actions });
const stores = ['find', 'insert', 'update', 'createIndex', 'listIndexes'];
const privileges = [
  on('iot_frames', ...stores, 'dropIndex', 'collMod'), // mongo.frames_ttl may change
  on('iot_losses', ...stores),
  on('iot_aggregate_metrics_sensor', ...stores),
  on('iot_aggregate_metrics_place', ...stores),
];
put(
  () => admin.createRole({ role: 'telltaleIngest', privileges, roles: [] }),
  () => admin.updateRole('telltaleIngest', { privileges, roles: [] }),
);
for (const [user, pwd, roles] of [
  ['telltale-ingest', secret('ingest'), [{ role: 'telltaleIngest', db: 'admin' }]],
  ['telltale-read', secret('read'), [{ role: 'read', db: database }]],
]) {
  put(
    () => admin.createUser({ user, pwd, roles }),
    () => admin.updateUser(user, { pwd, roles }),
  );
}
print(`mongodb: users telltale-ingest and telltale-read of ${database}`);
