// Speaks to a running CoAI as its users' programs do. COAI_URL and COAI_KEY say
// where it is; any failed assertion ends the process with an error.
import assert from "node:assert/strict";
import OpenAI from "openai";
import WebSocket from "ws";
import { createClient as createSocketClient } from "graphql-ws";
import { createClient as createEventClient } from "graphql-sse";

const { COAI_URL: url, COAI_KEY: key } = process.env;
const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
const messages = [{ role: "user", content: "Hello from Node" }];

const whole = await openai.chat.completions.create({ model: "echo", messages });
assert.equal(whole.choices[0].message.content, "Hello from Node");
assert.ok(whole.usage.total_tokens > 0);

let text = "";
let usage;
for await (const chunk of await openai.chat.completions.create({
  model: "echo", messages, stream: true, stream_options: { include_usage: true },
})) {
  text += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage ?? usage;
}
assert.equal(text, "Hello from Node");
assert.equal(usage.total_tokens, whole.usage.total_tokens);

const runner = openai.chat.completions.stream({
  model: "echo", messages, tool_choice: "required",
  tools: [{ type: "function", function: { name: "look_up", parameters: { type: "object", properties: { word: { type: "string" } }, required: ["word"] } } }],
});
const final = await runner.finalChatCompletion();
assert.equal(final.choices[0].finish_reason, "tool_calls");
assert.ok(JSON.parse(final.choices[0].message.tool_calls[0].function.arguments).word);

const models = [];
for await (const m of openai.models.list()) models.push(m.id);
assert.deepEqual(models, ["echo"]);

await assert.rejects(openai.chat.completions.create({ model: "nothing", messages }), (e) => e instanceof OpenAI.NotFoundError && e.code === "model_not_found");
await assert.rejects(new OpenAI({ baseURL: `${url}/v1`, apiKey: "sk-none", maxRetries: 0 }).models.list(), (e) => e instanceof OpenAI.AuthenticationError);

const slow = await openai.chat.completions.create({ model: "echo", messages, stream: true, metadata: { echo_delay_ms: "1000" } });
for await (const _ of slow) {
  slow.controller.abort();
}

const query = `subscription ($input: ChatCompletionInput!) {
  chatCompletion(input: $input) { sequence choices { delta { content } } usage { totalTokens } error { code } }
}`;
const variables = { input: { model: "echo", messages: [{ role: "USER", content: { text: "Hello from GraphQL" } }] } };

async function collect(client) {
  let said = "";
  let tokens = 0;
  for await (const { data, errors } of client.iterate({ query, variables })) {
    assert.equal(errors, undefined);
    for (const c of data.chatCompletion.choices) said += c.delta.content ?? "";
    tokens = data.chatCompletion.usage?.totalTokens ?? tokens;
  }
  assert.equal(said, "Hello from GraphQL");
  assert.ok(tokens > 0);
}

const socket = createSocketClient({
  url: `${url.replace("http", "ws")}/graphql`, webSocketImpl: WebSocket, connectionParams: { authorization: `Bearer ${key}` },
});
await collect(socket);
await socket.dispose();
const events = createEventClient({ url: `${url}/graphql`, headers: { authorization: `Bearer ${key}` } });
await collect(events);
events.dispose();
