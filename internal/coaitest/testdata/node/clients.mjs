// Speaks to a running CoAI as its users' programs do. COAI_URL and COAI_KEY say
// where it is; any failed assertion ends the process with an error.
import assert from "node:assert/strict";
import OpenAI, { toFile } from "openai";
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

const vectors = await openai.embeddings.create({ model: "echo", input: ["a", "b"], dimensions: 4 }); // asks for base64
const floats = await openai.embeddings.create({ model: "echo", input: ["a", "b"], dimensions: 4, encoding_format: "float" });
assert.equal(vectors.data.length, 2);
assert.deepEqual([...vectors.data[1].embedding].map(Math.fround), floats.data[1].embedding.map(Math.fround));
const image = await openai.images.generate({ model: "echo", prompt: "A dot" });
assert.ok(Buffer.from(image.data[0].b64_json, "base64").subarray(1, 4).equals(Buffer.from("PNG")));
const speech = Buffer.from(await (await openai.audio.speech.create({ model: "echo", input: "Hi", voice: "alloy" })).arrayBuffer());
assert.equal(speech.toString("latin1", 0, 4), "RIFF");
const transcription = await openai.audio.transcriptions.create({ model: "echo", file: await toFile(speech, "hi.wav") });
assert.equal(transcription.text, `hi.wav has ${speech.length} bytes.`);
const moderation = await openai.moderations.create({ model: "echo", input: "Hi" });
assert.equal(moderation.results[0].flagged, false);
let completed = "";
for await (const part of await openai.completions.create({ model: "echo", prompt: "Hello from Node", stream: true })) {
  completed += part.choices[0]?.text ?? "";
}
assert.equal(completed, "Hello from Node");

const kept = await openai.files.create({ file: await toFile(Buffer.from("Hello file"), "hello.txt"), purpose: "user_data", expires_after: { anchor: "created_at", seconds: 3600 } });
assert.equal((await openai.files.waitForProcessing(kept.id, { pollInterval: 10 })).status, "processed");
assert.equal((await openai.files.retrieve(kept.id)).filename, "hello.txt");
assert.equal(await (await openai.files.content(kept.id)).text(), "Hello file");
const listed = [];
for await (const f of openai.files.list({ purpose: "user_data", limit: 1 })) listed.push(f.id);
assert.deepEqual(listed, [kept.id]);
assert.equal((await openai.files.delete(kept.id)).deleted, true);
await assert.rejects(openai.files.retrieve(kept.id), (e) => e instanceof OpenAI.NotFoundError);

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
