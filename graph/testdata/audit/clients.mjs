// Speaks to the server at argv[2] with the key argv[3] through the reference
// clients of graphql-transport-ws and graphql-sse, and prints what they saw.
import { createClient as sse } from 'graphql-sse';
import { createClient as ws } from 'graphql-ws';
import WebSocket from 'ws';

const [, , url, key] = process.argv;
const stream = {
  query: `subscription($in: ChatCompletionInput!) { chatCompletion(input: $in) { sequence choices { delta { content } } usage { totalTokens } } }`,
  variables: { in: { model: 'echo', messages: [{ role: 'USER', content: { text: 'hello there' } }] } },
};

async function read(client, request) {
  const seen = { text: '', tokens: 0, errors: [] };
  try {
    for await (const { data, errors } of client.iterate(request)) {
      const chunk = data?.chatCompletion;
      for (const choice of chunk?.choices ?? []) seen.text += choice.delta.content ?? '';
      seen.tokens = chunk?.usage?.totalTokens ?? seen.tokens;
      for (const e of errors ?? []) seen.errors.push(e.extensions.code);
    }
  } catch (e) {
    const list = Array.isArray(e) ? e : (e.errors ?? [e]);
    for (const e of list) seen.errors.push(e.extensions?.code ?? e.reason ?? String(e));
  }
  return seen;
}

// The clients' first result, after which they leave.
async function leave(client) {
  for await (const _ of client.iterate(stream)) break;
  return 'left';
}

const overEvents = sse({ url, headers: { authorization: `Bearer ${key}` } });
const overSocket = ws({ url: url.replace('http', 'ws'), webSocketImpl: WebSocket, connectionParams: { authorization: `Bearer ${key}` } });
const stranger = ws({ url: url.replace('http', 'ws'), webSocketImpl: WebSocket, retryAttempts: 0, connectionParams: { apiKey: 'sk-coai-nonesuch' } });

const out = {};
for (const [name, client] of Object.entries({ events: overEvents, socket: overSocket })) {
  out[name] = {
    stream: await read(client, stream),
    invalid: await read(client, { query: '{ nonesuch }' }),
    left: await leave(client),
    again: await read(client, stream),
  };
}
out.stranger = await read(stranger, stream);
overEvents.dispose();
await overSocket.dispose();
console.log(JSON.stringify(out));
