// Makes the users that have a certificate instead of a password: they look, and
// change nothing. After deploy/mongodb/users.js, which has made and is the
// administrator.
const lists = [{ resource: { db: 'iot', collection: '' }, actions: ['listCollections'] }];
try {
  admin.createRole({ role: 'telltaleExporter', privileges: lists, roles: [] });
} catch (error) {
  if (!/already exists/.test(error.message)) throw error;
}
for (const [name, roles] of [
  ['telltale-exporter', ['clusterMonitor', 'telltaleExporter'].map((role) => ({ role, db: 'admin' }))],
  ['telltale-viewer', [{ role: 'read', db: 'iot' }]],
]) {
  const external = db.getSiblingDB('$external');
  const user = `CN=${name},OU=client,O=telltale`;
  try {
    external.createUser({ user, roles });
  } catch (error) {
    if (!/already exists/.test(error.message)) throw error;
    external.updateUser(user, { roles });
  }
}
