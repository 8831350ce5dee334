// Runs the audits of graphql-http against the server at argv[2] and prints
// their results as JSON: id, name, status (ok, notice, warn, error), reason.
import { auditServer } from 'graphql-http';

const results = await auditServer({ url: process.argv[2], fetchFn: fetch });
console.log(
  JSON.stringify(
    results.map((r) => ({ id: r.id, name: r.name, status: r.status, reason: r.reason ?? '' })),
  ),
);
