// Runs the audits of graphql-http against the server at argv[2], with the key
// argv[3] because some ask for introspection, and prints their results as JSON:
// id, name, status (ok, notice, warn, error), reason.
import { auditServer } from 'graphql-http';

const [, , url, key] = process.argv;
const results = await auditServer({
  url,
  fetchFn: (to, init) => fetch(to, { ...init, headers: { ...init?.headers, authorization: `Bearer ${key}` } }),
});
console.log(
  JSON.stringify(
    results.map((r) => ({ id: r.id, name: r.name, status: r.status, reason: r.reason ?? '' })),
  ),
);
